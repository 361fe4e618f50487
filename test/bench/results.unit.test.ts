import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PARTS } from '../../bench/options.ts';
import type { Report } from '../../bench/report.ts';
import { generated, readReport, results, summaryOf } from '../../bench/results.ts';

const root = join(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(join(root, file), 'utf8');
const reports = PARTS.flatMap((part) => readReport(part) ?? []);

test('there are results of every part that measures this project', () => {
  expect(reports.map(({ part }) => part)).toEqual(expect.arrayContaining(['write', 'relay', 'consume', 'path']));
});

test.each(Object.entries(generated()))('the committed %s matches the results', (name, text) => {
  expect(readFileSync(join(results, name), 'utf8')).toBe(text);
});

test('the README shows the summary, for light and dark pages', () => {
  const pictures = [...read('README.md').matchAll(/"(bench\/results\/[\w-]+\.svg)"/g)].map(([, file]) => file!);
  expect(pictures.sort()).toEqual(['bench/results/summary-dark.svg', 'bench/results/summary-light.svg']);
  for (const file of pictures) expect(existsSync(join(root, file))).toBe(true);
});

test('the README has at most 120 lines', () => {
  expect(read('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(120);
});

test('each row below its aim is explained in bench/README.md', () => {
  const missed = reports.flatMap(({ groups }) =>
    groups.flatMap(({ rows }) => rows.filter(({ ratio, aim }) => aim !== undefined && ratio! < aim)),
  );
  const text = read('bench/README.md');
  expect(missed.filter(({ name }) => !text.includes(`**${name}**`)).map(({ name }) => name)).toEqual([]);
});

test('the summary has the rows with aims, and no others', () => {
  const row = { median: 5, min: 5, max: 5, details: {} };
  const groups = [
    {
      title: 'writes',
      unit: 'a second',
      base: 'floor',
      rows: [
        { ...row, name: 'floor', ratio: 1 },
        { ...row, name: 'ours', ratio: 0.6, aim: 0.5 },
      ],
    },
    { title: 'latencies', unit: 'ms', rows: [{ ...row, name: 'ours' }] },
  ];
  const report: Report = { part: 'write', date: '', commit: '', machine: '', rounds: 1, method: '', groups };
  expect(summaryOf([report]).rows).toEqual([
    { name: 'writes: ours', median: 0.6, min: 0.6, max: 0.6, aim: 0.5, details: {} },
  ]);
});
