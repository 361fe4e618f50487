import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { listen } from '#http/listen';
import { createProbes, Health } from '#process/health';
import { shutDownGracefully } from '#process/shutdown';
import { eventually } from '../../support/eventually.ts';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close().closeAllConnections();
});

/** Starts a fake sidecar that records its requests with their times. */
async function startFakeSidecar(answer: RequestListener = (_, response) => response.writeHead(204).end()) {
  const requests: { line: string; at: number }[] = [];
  const server = createServer((request, response) => {
    const line = `${request.method} ${request.url} ${request.headers['dapr-api-token']}`;
    requests.push({ line, at: performance.now() });
    answer(request, response);
  });
  open.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, requests };
}

/** Shuts a process down with a delay of 0.2 s and a sidecar drain of 0.4 s. */
async function shutDown(port: number, { STOP_SIDECAR = true } = {}) {
  const health = new Health({});
  const server = await listen(createProbes(health), { port: 0, host: '127.0.0.1' });
  open.push(server);
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  const config = {
    SHUTDOWN_DELAY_SECONDS: 0.2,
    SIDECAR_DRAIN_SECONDS: 0.4,
    STOP_SIDECAR,
    DAPR_HTTP_PORT: port,
    DAPR_API_TOKEN: 'a-token-of-daprd',
  };
  const began = performance.now();
  const done = shutDownGracefully({ health, servers: [server], config, log: log as never });
  return { health, server, warnings, began, done };
}

test('a sidecar is shut down after the drain with STOP_SIDECAR, and the app stays healthy', async () => {
  const sidecar = await startFakeSidecar();
  const { health, done, warnings, began } = await shutDown(sidecar.port);
  expect(health.isShuttingDown).toBe(true);
  await done;
  const ended = performance.now();
  expect(sidecar.requests.map(({ line }) => line)).toEqual(['POST /v1.0/shutdown a-token-of-daprd']);
  const { at } = sidecar.requests[0]!;
  expect(at - began).toBeGreaterThan(395);
  expect(ended - began).toBeGreaterThan(595);
  expect(health.isHealthy).toBe(true);
  expect(warnings).toEqual([]);
});

test('a sidecar is not shut down without STOP_SIDECAR; the app is unhealthy after the delay', async () => {
  const sidecar = await startFakeSidecar();
  const { health, done, began } = await shutDown(sidecar.port, { STOP_SIDECAR: false });
  expect(health.isHealthy).toBe(true);
  await eventually(async () => expect(health.isHealthy).toBe(false));
  expect(performance.now() - began).toBeGreaterThan(195);
  await done;
  expect(performance.now() - began).toBeGreaterThan(595);
  expect(sidecar.requests).toEqual([]);
});

test.each([true, false])(
  'idle connections are closed after the delay, new ones accepted (STOP_SIDECAR: %s)',
  async (STOP_SIDECAR) => {
    const sidecar = await startFakeSidecar();
    const { server, done, began } = await shutDown(sidecar.port, { STOP_SIDECAR });
    const { port } = server.address() as AddressInfo;
    const idle = connect(port, '127.0.0.1');
    await once(idle, 'connect');
    idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    idle.resume();
    let isOver = false;
    void done.then(() => {
      isOver = true;
    });
    await once(idle, 'close');
    expect(isOver).toBe(false);
    expect(performance.now() - began).toBeGreaterThan(195);
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).resolves.toMatchObject({
      status: STOP_SIDECAR ? 200 : 503,
    });
    await done;
  },
);

test.each<[string, RequestListener | undefined]>([
  ['refuses', (_, response) => response.writeHead(403).end()],
  ['closes the connection', (request) => request.socket.destroy()],
  ['does not listen', undefined],
])('a sidecar that %s does not block the shutdown and is logged', async (_, answer) => {
  const { port } = answer ? await startFakeSidecar(answer) : { port: 1 };
  const { done, warnings } = await shutDown(port);
  await done;
  expect(warnings).toEqual(['could not stop the sidecar, continuing without it']);
});
