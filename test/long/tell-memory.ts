import { memoryUsage } from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';

// Loaded into a process of the system (NODE_OPTIONS, with --expose-gc): on a signal it says what it holds once the garbage is gone.
process.on('SIGUSR2', async () => {
  let [before, held] = [Number.POSITIVE_INFINITY, 0];
  // What one collection lets go of (what is weakly held, what has a finalizer) is garbage for the next.
  for (let round = 0; round < 10; round++) {
    globalThis.gc!();
    await delay(20, undefined, { ref: false });
    held = memoryUsage().heapUsed + memoryUsage().external;
    if (held > before - 50_000) break;
    before = held;
  }
  console.error(`holds ${held} bytes`);
});
