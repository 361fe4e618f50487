import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { eventually } from '../../support/eventually.ts';
import { as, PET, startApi, type TestApi } from './api.ts';

/** Far above the limits that these tests set, and below the time-outs of Node itself (30 s and more). */
const IN_TIME_MS = 20_000;
const HEAD = 'POST /v1/pets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n';
const GET_REQUEST = 'GET /docs/init.js HTTP/1.1\r\nHost: x\r\n\r\n';

let api: TestApi;
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await api[Symbol.asyncDispose]();
});

/** Opens a client that sends this text and nothing more, and keeps its side of the connection open. */
function send(data: string): Socket {
  const socket = connect({ port: api.port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => undefined);
  sockets.push(socket);
  socket.write(data);
  return socket;
}

const received = async (socket: Socket) => String(await once(socket, 'data'));
const connections = () => promisify(api.server.getConnections.bind(api.server))();

describe('A client that', () => {
  test.each<[string, string, { headersTimeoutMs: number; requestTimeoutMs: number }]>([
    ['sends nothing', '', { headersTimeoutMs: 300, requestTimeoutMs: 60_000 }],
    ['never finishes its headers', HEAD, { headersTimeoutMs: 300, requestTimeoutMs: 60_000 }],
    ['never finishes its body', `${HEAD}\r\n{"name":`, { headersTimeoutMs: 300, requestTimeoutMs: 300 }],
  ])(
    '%s is answered 408 and disconnected in time, even if it keeps its side open',
    async (_, sent, limits) => {
      api = await startApi(limits);
      const socket = send(sent);
      expect(await text(socket)).toMatch(/^HTTP\/1.1 408 .*"slug":"malformed-request"/s);
      await eventually(async () => expect(await connections()).toBe(0));
    },
    IN_TIME_MS,
  );

  test('never reads its responses is disconnected in time', async () => {
    api = await startApi({ standstillMs: 300 });
    // More than the buffers of both sides hold.
    send('GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(30)).pause();
    await eventually(async () => expect(await connections()).toBe(1));
    await eventually(async () => expect(await connections()).toBe(0), { timeoutMs: IN_TIME_MS });
  });

  test('pauses between two requests is not disconnected', async () => {
    api = await startApi({ headersTimeoutMs: 300, requestTimeoutMs: 300, standstillMs: 300 });
    const slow = send(HEAD);
    const patient = send(GET_REQUEST);
    expect(await received(patient)).toMatch(/^HTTP\/1.1 200 /);
    await text(slow);
    patient.write(GET_REQUEST);
    expect(await received(patient)).toMatch(/^HTTP\/1.1 200 /);
  });

  test('is slow has by default 10 s for its headers, 30 s in total and 60 s without a byte', async () => {
    api = await startApi();
    expect(api.server).toMatchObject({ headersTimeout: 10_000, requestTimeout: 30_000, timeout: 60_000 });
    expect(api.server.maxConnections).toBe(2_000);
  });
});

describe('Connections beyond the limit', () => {
  test('are refused while requests occupy all others, and accepted when one closes', async () => {
    api = await startApi({ maxConnections: 3 });
    const held = [send(HEAD), send(HEAD), send(HEAD)];
    await eventually(async () => expect(await connections()).toBe(3));
    expect(await text(send(GET_REQUEST)).catch(() => 'disconnected')).not.toContain('HTTP/1.1');
    held[0]!.destroy();
    await eventually(async () => expect((await api.send('/docs/init.js')).status).toBe(200));
  });

  test('are accepted when the others are idle, which are then closed', async () => {
    api = await startApi({ maxConnections: 5 });
    const idle = [send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST)];
    await Promise.all(idle.map(received));
    const ended = idle.map((socket) => once(socket.resume(), 'close'));
    for (const socket of idle) socket.on('end', () => socket.end());
    expect(await received(send(GET_REQUEST))).toMatch(/^HTTP\/1.1 200 /);
    await Promise.all(ended);
  });

  test('are refused while others are sending a further request', async () => {
    api = await startApi({ maxConnections: 5 });
    const accepted: Socket[] = [];
    api.server.on('connection', (socket) => accepted.push(socket));
    const clients = [send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST)];
    await Promise.all(clients.map(received));
    for (const client of clients) client.write(HEAD);
    await eventually(() => {
      for (const { bytesRead } of accepted) expect(bytesRead).toBe(GET_REQUEST.length + HEAD.length);
    });
    send(HEAD);
    await eventually(async () => expect(await connections()).toBe(5));
    expect(await text(send(GET_REQUEST)).catch(() => 'disconnected')).not.toContain('HTTP/1.1');
    expect(accepted.map(({ destroyed }) => destroyed)).toEqual(accepted.map(() => false));
  });

  test.each([
    ['line breaks', '\r\n'],
    ['the beginning of a further request', HEAD],
  ])('are accepted when the others have sent only %s for a second', async (_, sent) => {
    api = await startApi({ maxConnections: 5 });
    const clients = [send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST), send(GET_REQUEST)];
    await Promise.all(clients.map(received));
    for (const client of clients) client.write(sent);
    send(HEAD);
    await eventually(async () => expect((await api.send('/docs/init.js')).status).toBe(200));
    expect(await connections()).toBeLessThan(5);
  });

  test('are accepted when the others have sent no complete request for a second', async () => {
    api = await startApi({ maxConnections: 5 });
    for (const sent of ['', HEAD, '', HEAD, '']) send(sent);
    await eventually(async () => expect(await connections()).toBe(5));
    await eventually(async () => expect((await api.send('/docs/init.js')).status).toBe(200));
    expect(await connections()).toBeLessThan(5);
  });

  test('do not block probes and operators, which use another listener', async () => {
    api = await startApi({ maxConnections: 3 });
    for (const socket of [HEAD, HEAD, HEAD]) send(socket);
    await eventually(async () => expect(await connections()).toBe(3));
    await expect(api.send('/docs/init.js')).rejects.toThrow('fetch failed');
    for (const probe of ['/healthz', '/readyz']) expect((await api.send(probe, { at: 'operations' })).status).toBe(200);
    expect((await api.send(PET, as('o'))).status).toBe(200);
    expect((await api.send(PET, { ...as('m'), at: 'sidecar' })).status).toBe(200);
  });

  test('are accepted once slow clients have been disconnected', async () => {
    api = await startApi({ maxConnections: 3, headersTimeoutMs: 300, requestTimeoutMs: 300 });
    for (const sent of ['', HEAD, `${HEAD}\r\n{"name":`]) send(sent);
    await eventually(async () => expect(await connections()).toBe(3));
    await expect(api.send('/docs/init.js')).rejects.toThrow('fetch failed');
    await eventually(async () => expect((await api.send('/docs/init.js')).status).toBe(200), { timeoutMs: IN_TIME_MS });
  });
});

test('one address is limited to its share of the connections', async () => {
  api = await startApi({ maxConnections: 10, maxPerAddress: 2 });
  const held = [send(HEAD), send(HEAD)];
  await eventually(async () => expect(await connections()).toBe(2));
  expect(await text(send(GET_REQUEST)).catch(() => 'disconnected')).not.toContain('HTTP/1.1');
  held[0]!.destroy();
  await eventually(async () => expect((await api.send('/docs/init.js')).status).toBe(200));
});

test('an idle connection is kept for the configured time, by default 95 s', async () => {
  api = await startApi({ keepAliveSeconds: 1 });
  const idle = send(GET_REQUEST);
  await received(idle);
  await once(idle.resume(), 'end');
  await using usual = await startApi();
  expect([api.server.keepAliveTimeout, usual.server.keepAliveTimeout]).toEqual([1_000, 95_000]);
});

test('endless headers are answered 431 when too large, and other clients are served', async () => {
  api = await startApi();
  const large = Array.from({ length: 50 }, () => send(`GET /docs/init.js HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`));
  expect((await api.send('/docs/init.js')).status).toBe(200);
  for (const answer of await Promise.all(large.map((socket) => text(socket))))
    expect(answer).toMatch(/^HTTP\/1.1 431 /);
  // `fetch` keeps its own connection.
  await eventually(async () => expect(await connections()).toBeLessThanOrEqual(1), { timeoutMs: IN_TIME_MS });
});
