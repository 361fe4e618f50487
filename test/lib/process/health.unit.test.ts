import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { listen } from '#http/listen';
import { createProbes, daprCheck, Health } from '#process/health';

async function probe(health: Health, path: string) {
  await using server = await listen(createProbes(health), { port: 0, host: '127.0.0.1' });
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`);
  return [response.status, await response.json()];
}

const fine = async () => undefined;
const broken = async () => {
  throw Object.assign(new Error('postgres://app:secret@db'), { code: 'ECONNREFUSED' });
};

test('a process is ready while all its checks pass', async () => {
  const health = new Health({ database: fine, dapr: fine });
  expect(await probe(health, '/readyz')).toEqual([200, { status: 'ok', checks: { database: 'ok', dapr: 'ok' } }]);
});

test('a process that is not ready names the failed check without its address', async () => {
  const health = new Health({ database: broken, dapr: fine });
  const body = { status: 'unavailable', checks: { database: 'ECONNREFUSED', dapr: 'ok' } };
  expect(await probe(health, '/readyz')).toEqual([503, body]);
});

test('a process whose checks fail stays alive, since a restart would not help', async () => {
  expect(await probe(new Health({ database: broken }), '/healthz')).toEqual([200, { status: 'ok' }]);
});

test('a process that shuts down is unready at once, and unhealthy once it is marked so', async () => {
  const health = new Health({ database: fine });
  health.markUnready();
  expect(await probe(health, '/readyz')).toEqual([
    503,
    { status: 'unavailable', checks: { process: 'shutting down' } },
  ]);
  expect((await probe(health, '/healthz'))[0]).toBe(200);
  health.markUnhealthy();
  expect(await probe(health, '/healthz')).toEqual([503, { status: 'stopping' }]);
});

test('a check that does not answer fails', async () => {
  const health = new Health({ dapr: () => new Promise(() => undefined) });
  expect(await health.readiness()).toEqual({ ready: false, checks: { dapr: 'Error' } });
});

test('the Dapr check calls only the outbound health endpoint', async () => {
  let status = 204;
  const requests: unknown[] = [];
  const sidecar = createServer((request, response) => {
    requests.push(request.url);
    response.writeHead(status).end();
  }).listen(0, '127.0.0.1');
  await once(sidecar, 'listening');
  const check = daprCheck({ port: (sidecar.address() as AddressInfo).port });
  await check();
  status = 500;
  await expect(check()).rejects.toThrow('not ready');
  expect(requests).toEqual(['/v1.0/healthz/outbound', '/v1.0/healthz/outbound']);
  sidecar.closeAllConnections();
  sidecar.close();
  await expect(check()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
