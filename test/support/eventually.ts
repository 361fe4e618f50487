import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits until `check` neither throws nor answers false, looking again every 25 ms, and answers what it answered.
 * @throws what `check` threw last, or that it stayed false, after `timeoutMs` (10 s unless told)
 */
export async function eventually<T>(check: () => T | Promise<T>, { timeoutMs = 10_000 } = {}): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      const result = await check();
      if (result !== false) return result;
      throw new Error(`still not so: ${check}`);
    } catch (error) {
      if (performance.now() >= deadline) throw error;
      await delay(25);
    }
  }
}
