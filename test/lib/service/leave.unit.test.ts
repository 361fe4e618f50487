import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { createProbes, Health } from '#service/health';
import { leave } from '#service/leave';
import { listen } from '#service/run';
import { eventually } from '../../support/eventually.ts';

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

/** A process that leaves: two tenths of a second with its sidecar, four without. */
async function leaving(port: number, { END_SIDECAR = true } = {}) {
  const health = new Health({});
  const server = await listen(createProbes(health), { port: 0, host: '127.0.0.1' });
  open.push(server);
  const warnings: string[] = [];
  const log = { warn: (_: object, message: string) => void warnings.push(message) };
  const config = {
    PART_SECONDS: 0.2,
    LINGER_SECONDS: 0.4,
    END_SIDECAR,
    DAPR_HTTP_PORT: port,
    DAPR_API_TOKEN: 'a-token-of-daprd',
  };
  const began = performance.now();
  const left = leave({ health, server, config, log: log as never });
  return { health, server, warnings, began, left };
}

test('a sidecar that nobody else tells to stop is told, a while after callers have parted, and its app stays healthy and serves on meanwhile', async () => {
  const sidecar = await startSidecar();
  const { health, left, warnings, began } = await leaving(sidecar.port);
  expect(health.isLeaving).toBe(true);
  await left;
  const ended = performance.now();
  expect(sidecar.asked.map(({ what }) => what)).toEqual(['POST /v1.0/shutdown a-token-of-daprd']);
  const { at } = sidecar.asked[0]!;
  expect(at - began).toBeGreaterThan(395);
  expect(ended - began).toBeGreaterThan(595);
  expect(health.isHealthy).toBe(true);
  expect(warnings).toEqual([]);
});

test('a sidecar that is told to stop like its app is not told again: its app is not healthy once callers have parted', async () => {
  const sidecar = await startSidecar();
  const { health, left, began } = await leaving(sidecar.port, { END_SIDECAR: false });
  expect(health.isHealthy).toBe(true);
  await eventually(async () => expect(health.isHealthy).toBe(false));
  expect(performance.now() - began).toBeGreaterThan(195);
  await left;
  expect(performance.now() - began).toBeGreaterThan(595);
  expect(sidecar.asked).toEqual([]);
});

test.each([true, false])(
  'who has not used its connection while callers part is cut off then, not later; new ones are taken on (native: %s)',
  async (END_SIDECAR) => {
    const sidecar = await startSidecar();
    const { server, left, began } = await leaving(sidecar.port, { END_SIDECAR });
    const { port } = server.address() as AddressInfo;
    const idle = connect(port, '127.0.0.1');
    await once(idle, 'connect');
    idle.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
    idle.resume();
    let isOver = false;
    void left.then(() => {
      isOver = true;
    });
    await once(idle, 'close');
    expect(isOver).toBe(false);
    expect(performance.now() - began).toBeGreaterThan(195);
    await expect(fetch(`http://127.0.0.1:${port}/healthz`)).resolves.toMatchObject({ status: END_SIDECAR ? 200 : 503 });
    await left;
  },
);

test.each<[string, RequestListener | undefined]>([
  ['refuses', (_, response) => response.writeHead(403).end()],
  ['hangs up', (request) => request.socket.destroy()],
  ['is gone', undefined],
])('a sidecar that %s keeps nobody from leaving, and is worth a line in the log', async (_, answer) => {
  const { port } = answer ? await startSidecar(answer) : { port: 1 };
  const { left, warnings } = await leaving(port);
  await left;
  expect(warnings).toEqual(['the sidecar cannot be told to end']);
});
