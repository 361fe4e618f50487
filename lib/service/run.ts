import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type Koa from 'koa';
import { ConfigError } from './config.ts';
import { createLog, type Log } from './log.ts';

/** The life of a process, as its main sees it. */
export interface Life {
  /** What is opened registers its close here, on the next line; closed in reverse order. */
  readonly stack: AsyncDisposableStack;
  /** Called first when the process is told to stop, in the order given: readiness falls here. */
  onShutdown(step: () => void | Promise<void>): void;
  /** How long all that closes may take together, once those steps are done; 20 s unless told. */
  drainWithin(seconds: number): void;
  readonly log: Log;
}

/** Unless told. Orchestrators kill after 30 s; what has not closed by then is worth a line in the log. */
const DRAIN_SECONDS = 20;

/**
 * Runs a process: `main` opens everything and returns; SIGTERM or SIGINT closes everything, and exits 0. A second signal exits at once.
 * What fails at the start is told in one line, exit 1; so is an error that nobody handles.
 */
export async function run(name: string, main: (life: Life) => Promise<void>): Promise<void> {
  const log = createLog(name, process.env.LOG_LEVEL);
  const stack = new AsyncDisposableStack();
  const steps: (() => void | Promise<void>)[] = [];
  let drainSeconds = DRAIN_SECONDS;
  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(1);
    stopping = true;
    log.info({ signal }, 'stopping');
    void close(steps, stack, log, drainSeconds).then((code) => process.exit(code));
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, (error) => die(log, error));
  try {
    const drainWithin = (seconds: number) => {
      drainSeconds = seconds;
    };
    await main({ stack, onShutdown: (step) => steps.push(step), drainWithin, log });
  } catch (error) {
    // A signal during the start closes what the start still works on: its failing then is no news.
    if (stopping) return;
    explain(log, error);
    await stack.disposeAsync().catch(() => undefined);
    process.exit(1);
  }
}

async function close(
  steps: (() => void | Promise<void>)[],
  stack: AsyncDisposableStack,
  log: Log,
  drainSeconds: number,
): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  try {
    for (const step of steps) await step();
    timer = setTimeout(() => die(log, new Error('The shutdown takes too long')), drainSeconds * 1000);
    await stack.disposeAsync();
    log.info('stopped');
    return 0;
  } catch (error) {
    log.error({ err: error }, 'could not stop in order');
    return 1;
  } finally {
    clearTimeout(timer);
  }
}

/** After an error that nobody expected, nothing in memory can be relied on. */
function die(log: Log, error: unknown): never {
  log.fatal({ err: error }, 'fatal');
  process.exit(1);
}

function explain(log: Log, error: unknown): void {
  if (error instanceof ConfigError) process.stderr.write(`${error.message}\n`);
  else log.fatal({ err: error }, `could not start: ${Error.isError(error) ? error.message : error}`);
}

export interface ListenOptions {
  /** 0 takes a free one. */
  readonly port: number;
  readonly host: string;
  /** More are refused, so that a flood of connections does not take all memory. */
  readonly maxConnections?: number;
  /** Who has not said by then what is asked, or not all of it, is cut off: else a few slow clients take all connections. */
  readonly headersTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  /** Who does not read its answer holds it, and a connection, until then; longer than any answer of ours takes to begin. */
  readonly standstillMs?: number;
  /** How long the process may take to close. Requests get half of it, once the server is told to close: what they work with closes after them. */
  readonly drainSeconds?: number;
}

/** How often is looked for those whose time is over. Node's own half a minute would make 10 s up to 40. */
const CONNECTIONS_CHECKING_MS = 1_000;

/** Serves `app`; resolves when the port is open. Disposing stops accepting, lets running requests finish and ends every connection. */
export async function listen(
  app: Koa,
  {
    port,
    host,
    maxConnections = 2_000,
    headersTimeoutMs = 10_000,
    requestTimeoutMs = 30_000,
    standstillMs = 60_000,
    drainSeconds = DRAIN_SECONDS,
  }: ListenOptions,
): Promise<Server & AsyncDisposable> {
  const limits = {
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: CONNECTIONS_CHECKING_MS,
    maxHeaderSize: 16 * 1024,
  };
  const server = createServer(limits, app.callback());
  // Longer than clients keep an idle connection (Go's, and so daprd's: 90 s): a server that ends it first resets a request now and then.
  server.keepAliveTimeout = 95_000;
  server.timeout = standstillMs;
  server.maxHeadersCount = 100;
  server.maxConnections = maxConnections;
  server.on('clientError', answerBrokenRequest);
  server.on('request', readToTheEnd);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject).listen(port, host, resolve);
  await promise;
  server.off('error', reject);
  return Object.assign(server, { [Symbol.asyncDispose]: () => closeServer(server, drainSeconds * 500) });
}

/** A body that was refused before its end: what the client asks next on the connection would wait behind it. */
function readToTheEnd(request: IncomingMessage, response: ServerResponse): void {
  response.on('finish', () => request.unpipe().resume());
}

async function closeServer(server: Server, drainMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  // Says "connection: close" on answers to come, and ends the connections of those already begun as they fall idle.
  server.prependListener('request', (_, response) => response.setHeader('Connection', 'close'));
  const idle = setInterval(() => server.closeIdleConnections(), 50);
  const timeout = setTimeout(() => server.closeAllConnections(), drainMs);
  server.close(() => resolve());
  await promise;
  clearInterval(idle);
  clearTimeout(timeout);
}

const BROKEN_REQUESTS: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** Who is cut off has this long to read why. */
const PARTING_MS = 1_000;

/** What is no HTTP at all never reaches Koa. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = BROKEN_REQUESTS[error.code ?? ''] ?? 400;
  const title = STATUS_CODES[status];
  const body = JSON.stringify({ type: 'urn:problem:malformed-request', title, status, slug: 'malformed-request' });
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${body.length}`,
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // Whoever does not close his side either would keep his place among the connections for ever.
  setTimeout(() => socket.destroy(), PARTING_MS).unref();
}
