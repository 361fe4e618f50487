import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Health } from '#service/health';
import { leave } from '#service/leave';

const open: Server[] = [];
afterEach(() => {
  for (const server of open.splice(0)) server.close().closeAllConnections();
});

/** A sidecar that notes what it is asked, and when. */
async function startSidecar(answer: RequestListener = (_, response) => response.writeHead(204).end()) {
  const asked: { what: string; at: number }[] = [];
  const server = createServer((request, response) => {
    const what = `${request.method} ${request.url} ${request.headers['dapr-api-token']}`;
    asked.push({ what, at: performance.now() });
    answer(request, response);
  });
  open.push(server.listen(0, '127.0.0.1'));
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, asked };
}

async function leaving(health: Health, port: number, { END_SIDECAR = true, LINGER_SECONDS = 0.6 } = {}) {
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  const config = { LINGER_SECONDS, END_SIDECAR, DAPR_HTTP_PORT: port, DAPR_API_TOKEN: 'a-token-of-daprd' };
  const began = performance.now();
  await leave({ health, config, log: log as never });
  return { warnings, began, ended: performance.now() };
}

test('a sidecar that nobody else tells to stop is told, once callers have parted and while its app serves on', async () => {
  const health = new Health({});
  const sidecar = await startSidecar();
  const { warnings, began, ended } = await leaving(health, sidecar.port);
  expect(sidecar.asked.map(({ what }) => what)).toEqual(['POST /v1.0/shutdown a-token-of-daprd']);
  const { at } = sidecar.asked[0]!;
  expect(at - began).toBeGreaterThan(195);
  expect(ended - at).toBeGreaterThan(300);
  expect(health.isHealthy).toBe(false);
  expect(warnings).toEqual([]);
});

test('a sidecar that is told to stop like its app is left alone', async () => {
  const health = new Health({});
  const sidecar = await startSidecar();
  await leaving(health, sidecar.port, { END_SIDECAR: false });
  expect(sidecar.asked).toEqual([]);
  expect(health.isHealthy).toBe(false);
});

test.each<[string, RequestListener | undefined]>([
  ['refuses', (_, response) => response.writeHead(403).end()],
  ['hangs up', (request) => request.socket.destroy()],
  ['is gone', undefined],
])('a sidecar that %s keeps nobody from leaving, and is worth a line in the log', async (_, answer) => {
  const health = new Health({});
  const { port } = answer ? await startSidecar(answer) : { port: 1 };
  const { warnings } = await leaving(health, port);
  expect(warnings).toEqual(['the sidecar cannot be told to end']);
  expect(health.isHealthy).toBe(false);
});
