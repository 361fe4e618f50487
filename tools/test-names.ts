import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Shows that every test of an earlier commit still exists, under its old name or the one in tools/test-names.tsv:
 * `node tools/test-names.ts COMMIT`. The table is for fd48cbd, the last commit before decision 0027.
 */
const root = join(import.meta.dirname, '..');
const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 28 });

/** Of `test(`, `describe(` and what `each(...)` returns. */
const NAMED = /(?:\b(?:test|describe)|\))\(\s*(['`])((?:(?!\1)[^\\\n]|\\.)+)\1,\s*(?:async )?\(/g;
const namesIn = (text: string): string[] => [...text.matchAll(NAMED)].map(([, , name]) => name!);
const isTest = (path: string) => path.startsWith('test/') && path.endsWith('.test.ts');

const commit = process.argv[2] ?? '';
const lines = readFileSync(join(root, 'tools/test-names.tsv'), 'utf8').split('\n');
const renamed = new Map(
  lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split('\t') as [string, string]),
);
const files = git('ls-files', '--cached', '--others', '--exclude-standard', 'test')
  .split('\n')
  .filter((path) => isTest(path) && existsSync(join(root, path)));
const now = new Set(files.flatMap((path) => namesIn(readFileSync(join(root, path), 'utf8'))));
const before = git('ls-tree', '-r', '--name-only', commit)
  .split('\n')
  .filter(isTest)
  .flatMap((path) => namesIn(git('show', `${commit}:${path}`)).map((name) => ({ path, name })));
const gone = before.filter(({ name }) => !now.has(name) && !now.has(renamed.get(name) ?? ''));
for (const { path, name } of gone) process.stderr.write(`Gone: ${path}: ${name}\n`);
process.stdout.write(`${before.length} names of ${commit} looked up, ${gone.length} of them gone\n`);
process.exitCode = gone.length > 0 ? 1 : 0;
