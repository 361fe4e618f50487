import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { apiPage, configurationPage } from '../docs/reference.ts';
import { SECTIONS } from '../ops/doctor/finding.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

/** Returns the anchor of a heading, as GitHub makes it. */
const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
const sections = (file: string): string[] =>
  [...read(file).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => slug(heading!));

/** Lists the Markdown pages of a folder. */
function pages(folder: string): string[] {
  return readdirSync(join(root, folder)).flatMap((file) => (file.endsWith('.md') ? [`${folder}/${file}`] : []));
}

describe.each(['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'lib/eventing/README.md', ...pages('docs')])(
  '%s',
  (file) => {
    test('names only existing npm scripts', () => {
      const named = [...read(file).matchAll(/npm (?:run )?([a-z][\w:-]*)/g)].map(([, name]) => name!);
      expect(named.filter((name) => !['install', 'ci'].includes(name) && !scripts[name])).toEqual([]);
    });

    test('links only to existing sections', () => {
      const links = [...read(file).matchAll(/\]\((?!https?:)([^)#]*)#([^)]+)\)/g)];
      const missing = links.filter(
        ([, path, section]) => !sections(path ? join(file, '..', path) : file).includes(section!),
      );
      expect(missing.map(([link]) => link)).toEqual([]);
    });

    test('links only to existing files', () => {
      const links = [...read(file).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path]) => path!);
      expect(links.filter((path) => !existsSync(join(root, file, '..', path)))).toEqual([]);
    });
  },
);

test('each remedy of the doctor has its section in the runbook, and the reverse', () => {
  const remedies = read('docs/doctor.md').split('\n## Remedies\n')[1]!;
  const headings = [...remedies.matchAll(/^### (.*)$/gm)].map(([, heading]) => slug(heading!));
  expect(headings.toSorted()).toEqual(SECTIONS.toSorted());
});

test('each guarantee names existing tests', () => {
  const named = [
    ...read('docs/guarantees.md').matchAll(/^- \[[\w.-]+\]\(\.\.\/([^)]+)\): (.+?)(?: \*\(process\)\*)?$/gm),
  ];
  expect(named.length).toBeGreaterThan(40);
  const missing = named.filter(([, file, name]) => !name!.split(' › ').every((part) => read(file!).includes(part)));
  expect(missing.map(([line]) => line)).toEqual([]);
  for (const promise of ['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7', 'P8'])
    expect(read('docs/guarantees.md')).toMatch(new RegExp(`^## ${promise}: `, 'm'));
});

test('the decisions are numbered without gaps, and each has a title', () => {
  const pages = readdirSync(join(root, 'docs/decisions')).sort();
  expect(pages.map((page) => Number(page.slice(0, 4)))).toEqual(pages.map((_, index) => index + 1));
  for (const page of pages)
    expect(read(`docs/decisions/${page}`)).toMatch(new RegExp(`^# ${Number(page.slice(0, 4))}\\. \\S`));
});

test('the API and configuration pages match the code', () => {
  expect(read('docs/api.md')).toBe(apiPage());
  expect(read('docs/configuration.md')).toBe(configurationPage());
});

test('the README has at most 120 lines', () => {
  expect(read('README.md').split('\n').length).toBeLessThanOrEqual(120);
});
