import { randomInt } from 'node:crypto';
import { createServer, type Server } from 'node:net';

// Below the range from which the kernel takes the ports of outgoing connections (Linux 32768, macOS 49152). In that range a
// client that keeps reconnecting to a server that is down may be given the server's own port, and the server never binds again.
const [LOWEST, HIGHEST, BLOCK] = [15_000, 32_000, 100];

/** Ports for one run of the system. */
export interface Ports extends AsyncDisposable {
  /** A port of 127.0.0.1 that nothing listens on and that was not given before. @param preferred is taken when it is free */
  next(preferred?: number): Promise<number>;
}

/**
 * Takes a hundred ports that no other run gives out: between the choice of a port and the start of its server lie seconds, in which others choose
 * too. The first port of the hundred is listened on as long as they are taken, which tells the others.
 * @param taken is told of a preferred port that another program listens on
 */
export async function takePorts(taken: (port: number) => void = () => undefined): Promise<Ports> {
  const { base, server } = await takeBlock();
  let last = base;
  const preferences = new Set<number>();
  return {
    async next(preferred) {
      if (preferred !== undefined && !preferences.has(preferred)) {
        // Noted before anything is awaited: replicas ask for the same one at the same time.
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

/** A port for one server that is started at once. */
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
