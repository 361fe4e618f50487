import { setTimeout as delay } from 'node:timers/promises';

/**
 * Repeats `check` every 25 ms until it neither throws nor returns false.
 * @returns the result of `check`
 * @throws the last error of `check`, or that it stayed false, after `timeoutMs` (default 10 s; 60 s in projects that run
 *   the whole system, by whole-system.js)
 */
export async function eventually<T>(check: () => T | Promise<T>, { timeoutMs = eventuallyMs() } = {}): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      const result = await check();
      if (result !== false) return result;
      throw new Error(`still false: ${check}`);
    } catch (error) {
      if (performance.now() >= deadline) throw error;
      await delay(25);
    }
  }
}

const eventuallyMs = (): number => (globalThis as { eventuallyMs?: number }).eventuallyMs ?? 10_000;
