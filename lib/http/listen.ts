import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { SHUTDOWN_TIMEOUT_SECONDS } from '#process/run';
import { type ConnectionLimits, limitConnections } from './connection-limits.ts';

export interface ListenOptions extends Partial<ConnectionLimits> {
  /** 0 takes a free port. */
  readonly port: number;
  readonly host: string;
  /**
   * Idle timeout. Must be longer than the clients': a server that closes first resets requests that are just arriving.
   */
  readonly keepAliveSeconds?: number;
  /**
   * Limits for receiving the headers and the whole request. Without them, a few slow clients could hold all
   * connections.
   */
  readonly headersTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  /**
   * Limit without traffic on a connection, such as a client that does not read its response. Must exceed the slowest
   * handler's time.
   */
  readonly standstillMs?: number;
  /**
   * Limit for closing the whole process. Requests in progress get half of it, because the resources they use close
   * after them.
   */
  readonly shutdownTimeoutSeconds?: number;
}

/**
 * Interval of the checks for expired connections. With Node's default of 30 s, a limit of 10 s would take up to 40 s.
 */
const CONNECTIONS_CHECKING_MS = 1_000;

/**
 * Serves `app`; resolves when the port is open. Disposing stops accepting, lets requests in progress finish and closes
 * every connection.
 * @throws when the port cannot be opened
 */
export async function listen(
  app: Koa,
  {
    port,
    host,
    maxConnections = 2_000,
    maxPerAddress = maxConnections,
    // Go's HTTP client, which daprd uses, keeps idle connections for 90 s.
    keepAliveSeconds = 95,
    headersTimeoutMs = 10_000,
    requestTimeoutMs = 30_000,
    standstillMs = 60_000,
    shutdownTimeoutSeconds = SHUTDOWN_TIMEOUT_SECONDS,
  }: ListenOptions,
): Promise<Server & AsyncDisposable> {
  const limits = {
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_MS,
    maxHeaderSize: 16 * 1024,
  };
  const server = createServer(limits, app.callback());
  server.keepAliveTimeout = keepAliveSeconds * 1000;
  server.timeout = standstillMs;
  // Node silently drops headers beyond a maximum, such as a proxy's X-Forwarded-For; maxHeaderSize bounds their number
  // instead.
  server.maxHeadersCount = 0;
  limitConnections(server, { maxConnections, maxPerAddress });
  server.on('clientError', answerMalformedRequest);
  server.on('request', drainBody);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(port, host, resolve);
  await promise;
  server.off('error', reject);
  return Object.assign(server, { [Symbol.asyncDispose]: () => closeServer(server, shutdownTimeoutSeconds * 500) });
}

/**
 * Reads the rest of a body that was rejected early: the client's next request on the connection would wait behind it.
 */
function drainBody(request: IncomingMessage, response: ServerResponse): void {
  response.on('finish', () => request.unpipe().resume());
}

async function closeServer(server: Server, drainMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  // New responses carry "Connection: close"; connections whose response has already begun are closed when they become
  // idle.
  server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'));
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const timeout = setTimeout(() => server.closeAllConnections(), drainMs);
  server.close(() => resolve());
  await promise;
  clearInterval(idle);
  clearTimeout(timeout);
}

const STATUS_BY_CODE: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** Time for the client to read the response before its connection is destroyed. */
const LINGER_MS = 1_000;

/** Responds to input that is not valid HTTP, which never reaches Koa. */
function answerMalformedRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = STATUS_BY_CODE[error.code ?? ''] ?? 400;
  const title = STATUS_CODES[status];
  const body = JSON.stringify({ type: 'urn:problem:malformed-request', title, status, slug: 'malformed-request' });
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${body.length}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // A client that never closes its side would hold its connection indefinitely.
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}
