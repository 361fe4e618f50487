import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { eventually } from '../../support/eventually.ts';
import { startApi, type TestApi } from './api.ts';

/** Far above the limits that these tests set, and below what Node would wait of itself: half a minute and more. */
const IN_TIME_MS = 20_000;
const HEAD = 'POST /v1/pets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n';
const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n';

let api: TestApi;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await api[Symbol.asyncDispose]();
});

/** A client that says this much and then no more, and keeps its side of the connection open whatever it hears. */
function say(words: string): Socket {
  const socket = connect({ port: api.port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined);
  sockets.push(socket);
  socket.write(words);
  return socket;
}

const heard = async (socket: Socket) => String(await once(socket, 'data'));
const connections = () => promisify(api.server.getConnections.bind(api.server))();

describe('a client that', () => {
  test.each<[string, string, { headersTimeoutMs: number; requestTimeoutMs: number }]>([
    ['says nothing', '', { headersTimeoutMs: 300, requestTimeoutMs: 60_000 }],
    ['never finishes its headers', HEAD, { headersTimeoutMs: 300, requestTimeoutMs: 60_000 }],
    ['never finishes its body', `${HEAD}\r\n{"name":`, { headersTimeoutMs: 300, requestTimeoutMs: 300 }],
  ])(
    '%s is told so and cut off in time, even when it holds on',
    async (_, words, limits) => {
      api = await startApi(limits);
      const socket = say(words);
      expect(await text(socket)).toMatch(/^HTTP\/1.1 408 .*"slug":"malformed-request"/s);
      await eventually(async () => expect(await connections()).toBe(0));
    },
    IN_TIME_MS,
  );

  test('never reads what it has asked for is cut off in time', async () => {
    api = await startApi({ standstillMs: 300 });
    // More than fits between the two of them.
    say('GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(30)).pause();
    await eventually(async () => expect(await connections()).toBe(1));
    await eventually(async () => expect(await connections()).toBe(0), { timeoutMs: IN_TIME_MS });
  });

  test('takes its time between two requests is not cut off', async () => {
    api = await startApi({ headersTimeoutMs: 300, requestTimeoutMs: 300, standstillMs: 300 });
    const slow = say(HEAD);
    const patient = say(HEALTH);
    expect(await heard(patient)).toMatch(/^HTTP\/1.1 200 /);
    await text(slow);
    patient.write(HEALTH);
    expect(await heard(patient)).toMatch(/^HTTP\/1.1 200 /);
  });

  test('is slow has ten seconds for its headers, thirty for all and a minute without a byte, wherever nothing else is said', async () => {
    api = await startApi();
    expect(api.server).toMatchObject({ headersTimeout: 10_000, requestTimeout: 30_000, timeout: 60_000 });
    expect(api.server.maxConnections).toBe(2_000);
  });
});

describe('connections beyond the most that are taken', () => {
  test('are refused while the others are served, and room comes back when one goes', async () => {
    api = await startApi({ maxConnections: 3 });
    const served = [say(HEALTH), say(HEALTH), say(HEALTH)];
    await Promise.all(served.map(heard));
    expect(await text(say(HEALTH)).catch(() => 'cut off')).not.toContain('HTTP/1.1');
    for (const socket of served) {
      socket.write(HEALTH);
      expect(await heard(socket)).toMatch(/^HTTP\/1.1 200 /);
    }
    served[0]!.destroy();
    await eventually(async () => expect((await api.send('/healthz')).status).toBe(200));
  });

  test('find room when those who only hold theirs have been cut off', async () => {
    api = await startApi({ maxConnections: 3, headersTimeoutMs: 300, requestTimeoutMs: 300 });
    for (const words of ['', HEAD, `${HEAD}\r\n{"name":`]) say(words);
    await eventually(async () => expect(await connections()).toBe(3));
    await expect(api.send('/healthz')).rejects.toThrow('fetch failed');
    await eventually(async () => expect((await api.send('/healthz')).status).toBe(200), { timeoutMs: IN_TIME_MS });
  });
});

test('headers without end are refused when they are too large, and others are served meanwhile', async () => {
  api = await startApi();
  const large = Array.from({ length: 50 }, () => say(`GET /healthz HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`));
  expect((await api.send('/healthz')).status).toBe(200);
  for (const answer of await Promise.all(large.map((socket) => text(socket))))
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
  // `fetch` keeps the one that it has used.
  await eventually(async () => expect(await connections()).toBeLessThanOrEqual(1), { timeoutMs: IN_TIME_MS });
});
