import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { oldIdentifiers, oldPhrases } from './dialect.ts';

const root = join(import.meta.dirname, '..');
const MAX_NAME = 90;
/** The list itself, the table of renamed settings, what was released, and records of their time. */
const EXCEPT =
  /^(test\/dialect\.ts|lib\/process\/renamed\.ts|CHANGELOG\.md|docs\/decisions\/.*|charts\/.*\/values\.schema\.json|package-lock\.json|.*\.png)$/;

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => /\.(ts|js|md|ya?ml|json|tpl|txt|py)$|^Tiltfile$|^Dockerfile$/.test(file) && !EXCEPT.test(file))
  // Deleted and not committed yet.
  .filter((file) => existsSync(join(root, file)));
const texts = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]));

/** Where a pattern is found, as `file:line`. */
function placesOf(pattern: RegExp): string[] {
  return [...texts].flatMap(([file, text]) =>
    text.split('\n').flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
  );
}

test('at least 400 files are checked', () => {
  expect(files.length).toBeGreaterThan(400);
});

test.each(oldIdentifiers)('the old identifier %s is not used', (name) => {
  expect(placesOf(new RegExp(`\\b${name}\\b`))).toEqual([]);
});

test.each(oldPhrases)('the old phrase "%s" is not used', (phrase) => {
  expect(placesOf(new RegExp(`\\b${phrase}\\b`, 'i'))).toEqual([]);
});

describe('Test names', () => {
  // Of `test(`, `describe(` and what `each(...)` returns.
  const NAMED = /(?:\b(?:test|describe)|\))\(\s*(['`])((?:(?!\1)[^\\\n]|\\.)+)\1,\s*(?:async )?\(/g;
  const names = [...texts]
    .filter(([file]) => file.endsWith('.test.ts'))
    .flatMap(([file, text]) => [...text.matchAll(NAMED)].map(([, , name]) => ({ file, name: name! })));

  test('are found', () => {
    expect(names.length).toBeGreaterThan(1_000);
  });

  test(`have at most ${MAX_NAME} characters`, () => {
    expect(names.filter(({ name }) => name.length > MAX_NAME)).toEqual([]);
  });

  test('begin with their subject, not with a conjunction', () => {
    expect(names.filter(({ name }) => /^(and|but|or|so that|which|while|of|with none)\b/i.test(name))).toEqual([]);
  });
});
