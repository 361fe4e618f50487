import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which the kernel takes the ports of outgoing connections (Linux 32768, macOS 49152). In that range a
// client that keeps reconnecting to a server that is down may be given the server's own port, and the server never binds again.
const LOWEST = 15_000;
const HIGHEST = 32_000;

/**
 * A TCP port of 127.0.0.1 that nothing listens on.
 * @param preferred is taken when it is free
 * @param taken ports already promised to others
 */
export async function freePort(preferred?: number, taken: ReadonlySet<number> = new Set()): Promise<number> {
  if (preferred !== undefined && !taken.has(preferred) && (await isFree(preferred))) return preferred;
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST);
    if (!taken.has(port) && (await isFree(port))) return port;
  }
}

/** Hands out free ports, none of them twice. */
export function portGiver(): (preferred?: number) => Promise<number> {
  const taken = new Set<number>();
  return async (preferred) => {
    const port = await freePort(preferred, taken);
    taken.add(port);
    return port;
  };
}

/** Whether a server could listen on this port of 127.0.0.1 now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
