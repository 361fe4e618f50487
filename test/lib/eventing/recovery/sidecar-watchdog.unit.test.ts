import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { SidecarWatchdog } from '#eventing/sidecar-watchdog';

const STALL_MS = 30;
const log = { warn: () => undefined };
const open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const it of open.splice(0)) await it[Symbol.asyncDispose]();
});

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return (server.address() as AddressInfo).port;
}

/** Starts a fake daprd that records its requests. @param answer handles each request (default: 204) */
async function startFakeDaprd(answer: RequestListener = (_, response) => response.writeHead(204).end()) {
  const requests: string[] = [];
  const port = await listen(
    createServer((request, response) => {
      requests.push(`${request.method} ${request.url} ${request.headers['dapr-api-token']}`);
      answer(request, response);
    }),
  );
  return { port, requests };
}

const broker = (speak: (socket: Socket) => void) => listen(createTcpServer(speak));
const greets = (socket: Socket) => void socket.write('INFO {}\r\n');
const hangsUp = (socket: Socket) => void socket.once('data', () => socket.end());
const frozen = () => undefined;

/** The watchdog's clock, in milliseconds. */
let clock = 0;
beforeEach(() => {
  clock = 0;
});

function sidecar(port: number, ...brokers: number[]): SidecarWatchdog {
  const options = { port, apiToken: 'a-token-of-daprd', stallMs: STALL_MS, log };
  return new SidecarWatchdog(
    { ...options, brokers: brokers.map((it) => ({ host: '127.0.0.1', port: it })) },
    () => clock,
  );
}

/** Reports a failure every millisecond until daprd is restarted. @returns the time taken, in multiples of STALL_MS */
async function untilRestarted(it: SidecarWatchdog, topic = 'topic'): Promise<number> {
  const since = clock;
  while (!(await it.reportFailure(topic, 'no delivery'))) {
    clock += 1;
    expect(clock - since).toBeLessThan(10 * STALL_MS);
  }
  return (clock - since) / STALL_MS;
}

test.each([
  ['sends a greeting', greets],
  ['closes the connection', hangsUp],
])('daprd is shut down when a topic stays stalled while the broker %s', async (_, speak) => {
  const daprd = await startFakeDaprd();
  const it = sidecar(daprd.port, await broker(speak));
  expect(await untilRestarted(it)).toBe(1);
  expect(daprd.requests).toEqual(['POST /v1.0/shutdown a-token-of-daprd']);
});

test('daprd is shut down when one of several brokers is reachable', async () => {
  const daprd = await startFakeDaprd();
  await untilRestarted(sidecar(daprd.port, 1, await broker(greets)));
});

test.each<[string, () => Promise<number[]>]>([
  ['is unreachable', async () => [1]],
  ['accepts connections and sends nothing', async () => [await broker(frozen)]],
  ['is not configured', async () => []],
])('daprd is not shut down while the broker %s', async (_, brokers) => {
  const daprd = await startFakeDaprd();
  const it = sidecar(daprd.port, ...(await brokers()));
  for (let reports = 0; reports < 3; reports += 1, clock += STALL_MS)
    expect(await it.reportFailure('topic', 'no delivery')).toBe(false);
  expect(it.isFailing('topic')).toBe(false);
  expect(daprd.requests).toEqual([]);
});

test('a topic with a new delivery is no longer failing', async () => {
  const daprd = await startFakeDaprd();
  const it = sidecar(daprd.port, await broker(greets));
  await it.reportFailure('topic', 'no delivery');
  expect(it.isFailing('topic')).toBe(true);
  it.reportSuccess('topic');
  expect(it.isFailing('topic')).toBe(false);
});

test('two failures far apart do not count as one lasting failure', async () => {
  const daprd = await startFakeDaprd();
  const it = sidecar(daprd.port, await broker(greets));
  await it.reportFailure('topic', 'no delivery');
  clock += 60_000;
  expect(await it.reportFailure('topic', 'no delivery')).toBe(false);
  clock += STALL_MS;
  expect(await it.reportFailure('topic', 'no delivery')).toBe(true);
});

test('restarts that do not help are repeated at doubling intervals, for any topic', async () => {
  const daprd = await startFakeDaprd();
  const it = sidecar(daprd.port, await broker(greets));
  await untilRestarted(it);
  expect(await untilRestarted(it, 'another')).toBe(2);
  expect(await untilRestarted(it)).toBe(4);
  expect(daprd.requests).toHaveLength(3);
});

test('a shutdown request that daprd refuses is repeated later', async () => {
  const daprd = await startFakeDaprd((_, response) => response.writeHead(500).end());
  const it = sidecar(daprd.port, await broker(greets));
  await untilRestarted(it);
  await untilRestarted(it);
  expect(daprd.requests).toHaveLength(2);
});
