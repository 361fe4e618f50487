import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { Sidecar } from '#eventing/sidecar';
import { eventually } from '../../support/eventually.ts';

const SILENCE_MS = 30;
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

/** A sidecar that notes what it is asked, and answers as told. */
async function startDaprd(answer: RequestListener = (_, response) => response.writeHead(204).end()) {
  const asked: string[] = [];
  const port = await listen(
    createServer((request, response) => {
      asked.push(`${request.method} ${request.url} ${request.headers['dapr-api-token']}`);
      answer(request, response);
    }),
  );
  return { port, asked };
}

const broker = (speak: (socket: Socket) => void) => listen(createTcpServer(speak));
const greets = (socket: Socket) => void socket.write('INFO {}\r\n');
const hangsUp = (socket: Socket) => void socket.once('data', () => socket.end());
const frozen = () => undefined;

function sidecar(port: number, ...brokers: number[]): Sidecar {
  return sidecarAt(() => performance.now(), port, ...brokers);
}

function sidecarAt(now: () => number, port: number, ...brokers: number[]): Sidecar {
  const at = (it: number) => ({ host: '127.0.0.1', port: it });
  return new Sidecar({ port, apiToken: 'a-token-of-daprd', brokers: brokers.map(at), silenceMs: SILENCE_MS, log }, now);
}

/** Suspects a topic until daprd is restarted; answers how long it took, in silences. */
async function untilRestarted(it: Sidecar, topic = 'topic'): Promise<number> {
  const since = performance.now();
  await eventually(async () => expect(await it.suspect(topic, 'it is silent')).toBe(true));
  return (performance.now() - since) / SILENCE_MS;
}

test.each([
  ['greets', greets],
  ['hangs up on what is not its protocol', hangsUp],
])('daprd is told to shut down when a topic stays dead although the broker is there: one that %s', async (_, speak) => {
  const daprd = await startDaprd();
  const it = sidecar(daprd.port, await broker(speak));
  expect(await it.suspect('topic', 'it is silent')).toBe(false);
  expect(await untilRestarted(it)).toBeGreaterThanOrEqual(0.9);
  expect(daprd.asked).toEqual(['POST /v1.0/shutdown a-token-of-daprd']);
});

test('one of several brokers is enough', async () => {
  const daprd = await startDaprd();
  await untilRestarted(sidecar(daprd.port, 1, await broker(greets)));
});

test.each<[string, () => Promise<number[]>]>([
  ['cannot be reached', async () => [1]],
  ['takes connections and says nothing', async () => [await broker(frozen)]],
  ['is not known', async () => []],
])('while the broker %s, daprd is left alone', async (_, brokers) => {
  const daprd = await startDaprd();
  const it = sidecar(daprd.port, ...(await brokers()));
  const until = performance.now() + 3 * SILENCE_MS;
  do expect(await it.suspect('topic', 'it is silent')).toBe(false);
  while (performance.now() < until);
  expect(it.suspects('topic')).toBe(false);
  expect(daprd.asked).toEqual([]);
});

test('a topic that is heard again in between is not suspected any more', async () => {
  const daprd = await startDaprd();
  const it = sidecar(daprd.port, await broker(greets));
  await it.suspect('topic', 'it is silent');
  expect(it.suspects('topic')).toBe(true);
  it.trust('topic');
  expect(it.suspects('topic')).toBe(false);
});

test('two suspicions far apart are two, not one that lasted', async () => {
  const daprd = await startDaprd();
  let now = 0;
  const it = sidecarAt(() => now, daprd.port, await broker(greets));
  await it.suspect('topic', 'it is silent');
  now += 60_000;
  expect(await it.suspect('topic', 'it is silent')).toBe(false);
  now += SILENCE_MS;
  expect(await it.suspect('topic', 'it is silent')).toBe(true);
});

test('restarts that do not help come ever more seldom, whichever topic is dead', async () => {
  const daprd = await startDaprd();
  const it = sidecar(daprd.port, await broker(greets));
  await untilRestarted(it);
  expect(await untilRestarted(it, 'another')).toBeGreaterThanOrEqual(1.9);
  expect(await untilRestarted(it)).toBeGreaterThanOrEqual(3.9);
  expect(daprd.asked).toHaveLength(3);
});

test('a daprd that does not take it is asked again later', async () => {
  const daprd = await startDaprd((_, response) => response.writeHead(500).end());
  const it = sidecar(daprd.port, await broker(greets));
  await untilRestarted(it);
  await untilRestarted(it);
  expect(daprd.asked).toHaveLength(2);
});
