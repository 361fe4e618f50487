import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  /** Further connections are refused, so that a flood of them cannot exhaust memory. */
  readonly maxConnections: number;
  /** Further connections from the same address are refused. */
  readonly maxPerAddress: number;
}

/**
 * Above this share of the limit, idle connections are closed: their clients can reconnect, while new callers need a
 * place.
 */
const NEARLY_FULL = 0.8;

/** Connections that have not sent complete request headers are closed as well, after this time; milliseconds. */
const SILENT_MS = 1_000;

/** Limits connections, and keeps places free for new callers when others hold connections without sending requests. */
export function limitConnections(server: Server, { maxConnections, maxPerAddress }: ConnectionLimits): void {
  let open = 0;
  const byAddress = new Map<string, number>();
  /** Opening time of each connection that has not sent complete request headers, oldest first; milliseconds. */
  const silent = new Map<Socket, number>();
  server.on('request', ({ socket }: IncomingMessage) => silent.delete(socket));
  server.maxConnections = maxConnections;
  const makeRoom = (): void => {
    server.closeIdleConnections();
    for (const [oldest, since] of silent) {
      if (performance.now() - since < SILENT_MS) break;
      oldest.destroy();
    }
  };
  // A full server emits no 'connection' event that would make room.
  server.on('drop', makeRoom);
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const held = (byAddress.get(address) ?? 0) + 1;
    byAddress.set(address, held);
    open += 1;
    silent.set(socket, performance.now());
    socket.once('close', () => {
      open -= 1;
      silent.delete(socket);
      const left = byAddress.get(address)! - 1;
      if (left > 0) byAddress.set(address, left);
      else byAddress.delete(address);
    });
    if (open > maxConnections * NEARLY_FULL) makeRoom();
    if (held > maxPerAddress) socket.destroy();
  });
}
