/** Returns the middle value; of an even number the upper one of the two. @throws RangeError when there is none */
export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** Returns the smallest value that at least `percent` of the values do not exceed. @throws RangeError when there is none */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('no values');
  const rank = Math.floor((values.length * percent) / 100);
  return values.toSorted((a, b) => a - b)[Math.min(rank, values.length - 1)]!;
}

/** Returns the median of the ratios to `base`, each taken within a round: a machine's speed changes between rounds. */
export function ratioWithinRounds(values: readonly number[], base: readonly number[]): number {
  if (values.length !== base.length) throw new RangeError(`${values.length} rounds beside ${base.length}`);
  return median(values.map((value, round) => value / base[round]!));
}

/** One piece of work that was due at a fixed time, whether or not the earlier ones were done; milliseconds. */
export interface OpenLoopSample {
  readonly due: number;
  readonly started: number;
  readonly ended: number;
}

/**
 * Returns latencies in milliseconds from the due times. A late start counts: otherwise a system that stops for a second would
 * be asked less in that second, and look faster ("coordinated omission").
 */
export function latencies(samples: readonly OpenLoopSample[]): number[] {
  return samples.map(({ due, started, ended }) => {
    if (started < due) throw new RangeError('work began before it was due');
    return ended - due;
  });
}

/**
 * Starts `work` at a constant rate for so many seconds, without waiting for the earlier ones, and waits for all of it.
 * @returns a sample for each; times from performance.now()
 */
export async function openLoop(
  rate: number,
  seconds: number,
  work: (n: number) => Promise<unknown>,
): Promise<OpenLoopSample[]> {
  const begin = performance.now();
  const running: Promise<OpenLoopSample>[] = [];
  const total = Math.ceil(rate * seconds);
  const run = async (n: number, due: number): Promise<OpenLoopSample> => {
    const started = performance.now();
    await work(n);
    return { due, started, ended: performance.now() };
  };
  while (running.length < total) {
    const due = begin + (running.length * 1000) / rate;
    const waitMs = due - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, Math.ceil(waitMs)));
    else running.push(run(running.length, due));
  }
  return Promise.all(running);
}
