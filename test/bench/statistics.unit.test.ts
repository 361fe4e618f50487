import { latencies, median, openLoop, percentile, ratioWithinRounds } from '../../bench/statistics.ts';

describe('The median', () => {
  test.each([
    [[3], 3],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 3],
  ])('is the middle value: %j has %d', (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  test('needs at least one value', () => {
    expect(() => median([])).toThrow(RangeError);
  });
});

test.each([
  [0, 1],
  [50, 51],
  [99, 100],
  [100, 100],
])('the percentile %d of 1 to 100 is %d', (percent, expected) => {
  const values = Array.from({ length: 100 }, (_, n) => 100 - n);
  expect(percentile(values, percent)).toBe(expected);
});

describe('Ratios', () => {
  test('are taken within a round, not of the medians', () => {
    // The machine was ten times faster in the second round.
    expect(ratioWithinRounds([5, 50, 6], [10, 100, 10])).toBe(0.5);
    expect(ratioWithinRounds([1, 100, 90], [10, 100, 100])).toBe(0.9);
  });

  test('need the same number of rounds on both sides', () => {
    expect(() => ratioWithinRounds([1], [1, 2])).toThrow('1 rounds beside 2');
  });
});

describe('Open-loop latencies', () => {
  test('count from the due time, so a late start counts as well', () => {
    expect(latencies([{ due: 10, started: 10, ended: 12 }])).toEqual([2]);
    expect(latencies([{ due: 10, started: 110, ended: 112 }])).toEqual([102]);
  });

  test('refuse work that began before it was due', () => {
    expect(() => latencies([{ due: 10, started: 9, ended: 12 }])).toThrow(RangeError);
  });

  test('include the work that was due while the process was blocked', async () => {
    const blockMs = 40;
    const samples = await openLoop(500, 0.02, async (n) => {
      for (const until = performance.now() + (n === 0 ? blockMs : 0); performance.now() < until; );
    });
    expect(samples).toHaveLength(10);
    expect(samples.map(({ due }) => Math.round(due - samples[0]!.due))).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    // All ten were due within the 40 ms.
    expect(Math.min(...latencies(samples))).toBeGreaterThan(blockMs - 20);
  });

  test('do not wait for earlier work', async () => {
    const first = Promise.withResolvers<void>();
    const done = await openLoop(1000, 0.005, async (n) => {
      if (n === 4) first.resolve();
      if (n === 0) await first.promise;
    });
    expect(done).toHaveLength(5);
  });
});
