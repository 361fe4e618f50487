import { memoryUsage } from 'node:process';

// Loaded into a process of the system (NODE_OPTIONS, with --expose-gc): on a signal it says what it holds once the garbage is gone.
process.on('SIGUSR2', () => {
  globalThis.gc!();
  console.error(`holds ${memoryUsage().heapUsed + memoryUsage().external} bytes`);
});
