import { type Miss, missedTwice, misses } from '../../bench/check.ts';
import type { Report } from '../../bench/report.ts';

function report(ratios: Readonly<Record<string, number | undefined>>): Report {
  const rows = Object.entries(ratios).map(([name, ratio]) => ({
    ...{ name, median: 1, min: 1, max: 1, details: {} },
    ...(ratio !== undefined && { ratio }),
  }));
  const groups = [{ title: 'a group', unit: 'a second', rows }];
  return { part: 'write', date: '2026-12-01', commit: 'abc', machine: 'm', rounds: 1, method: '', groups };
}

test('a ratio more than a fifth below the committed one misses', () => {
  const found = misses(report({ ours: 0.5, others: 0.5 }), report({ ours: 0.39, others: 0.41 }));
  expect(found).toEqual([{ part: 'write', group: 'a group', row: 'ours', committed: 0.5, measured: 0.39 }]);
});

test('a higher ratio, a row without a ratio and a row that was not measured miss nothing', () => {
  const committed = report({ ours: 0.5, latency: undefined, peer: 0.9 });
  expect(misses(committed, report({ ours: 0.9, latency: undefined }))).toEqual([]);
});

test('another speed of the machine misses nothing', () => {
  const slower = report({ ours: 0.5 });
  const rows = slower.groups[0]!.rows.map((row) => ({ ...row, median: 0.1 }));
  expect(misses(report({ ours: 0.5 }), { ...slower, groups: [{ ...slower.groups[0]!, rows }] })).toEqual([]);
});

test('only a row that misses in both runs counts', () => {
  const miss = (row: string): Miss => ({ part: 'write', group: 'a group', row, committed: 0.5, measured: 0.1 });
  expect(missedTwice([miss('a'), miss('b')], [miss('b'), miss('c')])).toEqual([miss('b')]);
  expect(missedTwice([miss('a')], [])).toEqual([]);
});
