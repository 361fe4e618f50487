import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withTables } from '../docs/readme-tables.ts';

const root = join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

describe.each(['README.md', 'CONTRIBUTING.md', 'lib/eventing/README.md', 'docs/guarantees.md', 'docs/operate.md'])(
  '%s',
  (file) => {
    test('names only npm scripts that there are', () => {
      const named = [...read(file).matchAll(/npm (?:run )?([a-z][\w:-]*)/g)].map(([, name]) => name!);
      expect(named.filter((name) => !['install', 'ci'].includes(name) && !scripts[name])).toEqual([]);
    });

    test('links only to files that there are', () => {
      const links = [...read(file).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, path]) => path!);
      expect(links.filter((path) => !existsSync(join(root, file, '..', path)))).toEqual([]);
    });
  },
);

test('each guarantee names tests that there are, in words that their files hold', () => {
  const named = [
    ...read('docs/guarantees.md').matchAll(/^- \[[\w.-]+\]\(\.\.\/([^)]+)\): (.+?)(?: \*\(process\)\*)?$/gm),
  ];
  expect(named.length).toBeGreaterThan(40);
  const missing = named.filter(([, file, words]) => !read(file!).includes(words!));
  expect(missing.map(([line]) => line)).toEqual([]);
  for (const promise of ['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7'])
    expect(read('docs/guarantees.md')).toMatch(new RegExp(`^## ${promise}: `, 'm'));
});

test('the decisions are numbered without a gap, and each says what it is about', () => {
  const pages = readdirSync(join(root, 'docs/decisions')).sort();
  expect(pages.map((page) => Number(page.slice(0, 4)))).toEqual(pages.map((_, index) => index + 1));
  for (const page of pages)
    expect(read(`docs/decisions/${page}`)).toMatch(new RegExp(`^# ${Number(page.slice(0, 4))}\\. \\S`));
});

test('the README’s tables are those of today’s code', () => {
  expect(read('README.md')).toBe(withTables(read('README.md')));
});
