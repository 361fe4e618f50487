import type { IncomingMessage, Server, ServerResponse } from 'node:http';
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

/** Connections with an unfinished beginning of a request are closed as well, after this time; milliseconds. */
const SILENT_MS = 1_000;

/**
 * Limits connections, and keeps places free for new callers when others hold connections without sending requests. From then on
 * `server.closeIdleConnections()`, which `server.close()` calls as well, closes only connections between two requests.
 */
export function limitConnections(server: Server, { maxConnections, maxPerAddress }: ConnectionLimits): void {
  let open = 0;
  const byAddress = new Map<string, number>();
  /** Opening time of each connection that has not sent complete request headers, oldest first; milliseconds. */
  const silent = new Map<Socket, number>();
  const idle = new IdleConnections();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    silent.delete(request.socket);
    idle.track(request, response);
  });
  server.closeIdleConnections = () => idle.destroyAll();
  server.maxConnections = maxConnections;
  const makeRoom = (): void => {
    server.closeIdleConnections();
    idle.destroyUnfinished();
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
      idle.forget(socket);
      const left = byAddress.get(address)! - 1;
      if (left > 0) byAddress.set(address, left);
      else byAddress.delete(address);
    });
    if (open > maxConnections * NEARLY_FULL) makeRoom();
    if (held > maxPerAddress) socket.destroy();
  });
}

/**
 * Connections between two requests. They replace what Node regards as idle: from Node 26 on, these include connections whose first request
 * has not arrived completely, and so clients that are slow but honest.
 */
class IdleConnections {
  /** By connection: the halves of its exchanges (request and response) that have not ended. */
  readonly #openHalves = new WeakMap<Socket, number>();
  /** By idle connection: the bytes read when its last exchange ended. More bytes are the beginning of the next request. */
  readonly #bytesRead = new Map<Socket, number>();
  /** When such a beginning was first seen; milliseconds. */
  readonly #begunAt = new Map<Socket, number>();

  track(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    this.forget(socket);
    this.#openHalves.set(socket, (this.#openHalves.get(socket) ?? 0) + 2);
    for (const half of [request, response]) half.once('close', () => this.#end(socket));
  }

  #end(socket: Socket): void {
    const left = this.#openHalves.get(socket)! - 1;
    this.#openHalves.set(socket, left);
    if (left === 0 && !socket.destroyed) this.#bytesRead.set(socket, socket.bytesRead);
  }

  forget(socket: Socket): void {
    this.#bytesRead.delete(socket);
    this.#begunAt.delete(socket);
  }

  destroyAll(): void {
    for (const [socket, bytesRead] of this.#bytesRead) if (socket.bytesRead === bytesRead) socket.destroy();
  }

  /** Destroys connections that have sent a part of their next request's headers, or only line breaks, a while ago. */
  destroyUnfinished(): void {
    const now = performance.now();
    for (const socket of this.#bytesRead.keys()) {
      const begunAt = this.#begunAt.get(socket) ?? now;
      this.#begunAt.set(socket, begunAt);
      if (now - begunAt >= SILENT_MS) socket.destroy();
    }
  }
}
