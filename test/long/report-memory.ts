import { memoryUsage } from 'node:process';
import { setTimeout as delay } from 'node:timers/promises';

// Loaded into processes by NODE_OPTIONS, with --expose-gc. On SIGUSR2, prints the memory in use after a garbage
// collection.
process.on('SIGUSR2', async () => {
  let [before, used] = [Number.POSITIVE_INFINITY, 0];
  // Weakly held objects, and objects with a finalizer, are freed only by a later collection.
  for (let round = 0; round < 10; round++) {
    globalThis.gc!();
    await delay(20, undefined, { ref: false });
    used = memoryUsage().heapUsed + memoryUsage().external;
    if (used > before - 50_000) break;
    before = used;
  }
  console.error(`memory in use: ${used} bytes`);
});
