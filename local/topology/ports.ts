import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';

// Below the kernel's range for outgoing connections (from 32768 on Linux, 49152 on macOS). Within it, a client that
// keeps reconnecting to a stopped server may get the server's own port, and the server cannot bind any more.
const [LOWEST, HIGHEST, BLOCK] = [15_000, 32_000, 100];

/** Ports for one run of the system. */
export interface Ports extends AsyncDisposable {
  /** Returns an unused port of 127.0.0.1; never the same one twice. @param preferred returned if it is free */
  next(preferred?: number): Promise<number>;
}

/**
 * Reserves a block of a hundred ports for this run. A server starts seconds after its port is chosen, and another run
 * could choose the same port meanwhile. Listening on the block's first port marks the block as reserved.
 * @param taken called with a preferred port that is in use
 */
export async function takePorts(taken: (port: number) => void = () => undefined): Promise<Ports> {
  const { base, server } = await takeBlock();
  let last = base;
  const preferences = new Set<number>();
  return {
    async next(preferred) {
      if (preferred !== undefined && !preferences.has(preferred)) {
        // Before the first await: replicas request the same port concurrently.
        preferences.add(preferred);
        if (await isFree(preferred)) return preferred;
        taken(preferred);
      }
      for (;;) {
        last += 1;
        const port = last;
        if (port >= base + BLOCK) throw new Error(`No port is free from ${base} to ${base + BLOCK - 1}`);
        if (await isFree(port)) return port;
      }
    },
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function takeBlock(): Promise<{ base: number; server: Server }> {
  for (;;) {
    const base = LOWEST + BLOCK * randomInt((HIGHEST - LOWEST) / BLOCK);
    const server = await listen(base);
    if (server) return { base, server: server.unref() };
  }
}

/** Returns a free port for a server that starts immediately. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(HIGHEST, HIGHEST + 700);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = await listen(port);
  return server ? new Promise((resolve) => server.close(() => resolve(true))) : false;
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', () => resolve(undefined));
    server.listen({ port, host: '127.0.0.1' }, () => resolve(server));
  });
}
