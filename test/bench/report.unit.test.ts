import { shown, Turns, table } from '../../bench/report.ts';

function measured(): Turns {
  const turns = new Turns();
  for (const [round, speed] of [1, 10, 2].entries()) {
    turns.add('floor', { value: 100 * speed });
    turns.add('ours', { value: 80 * speed + round, details: { 'p99 ms': 5 + round, 'CPU s': undefined } });
  }
  return turns;
}

test('a group has medians, ranges, ratios within rounds, aims and the known details', () => {
  const group = measured().group({ title: 'writes', unit: 'a second', base: 'floor' }, { ours: 0.85 });
  expect(group.rows).toEqual([
    { name: 'floor', median: 200, min: 100, max: 1000, ratio: 1, details: {} },
    { name: 'ours', median: 162, min: 80, max: 801, ratio: 0.801, aim: 0.85, details: { 'p99 ms': 6 } },
  ]);
});

test('a group without a base has no ratios', () => {
  const [row] = measured().group({ title: 'latencies', unit: 'ms' }).rows;
  expect(row).not.toHaveProperty('ratio');
});

test('a table has a column for each detail, empty where a row has none', () => {
  const group = measured().group({ title: 'writes', unit: 'a second', base: 'floor' }, { ours: 0.85 });
  expect(table(group).split('\n')).toEqual([
    '| writes | a second | range | of floor | aim | p99 ms |',
    '| --- | --- | --- | --- | --- | --- |',
    '| floor | 200 | 100 to 1,000 | 1.00 |  |  |',
    '| ours | 162 | 80 to 801 | 0.80 | 0.85 | 6 |',
  ]);
});

test.each([
  [12_345.6, '12,346'],
  [99.94, '99.9'],
  [1.2345, '1.23'],
  [-0.00123, '-0.00123'],
  [0, '0'],
])('%d is shown as %s', (value, text) => {
  expect(shown(value)).toBe(text);
});
