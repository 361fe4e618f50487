import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createProbes, daprCheck, Health } from '#service/health';
import { listen } from '#service/run';

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

test('a process that is not ready says which check failed, and no address', async () => {
  const health = new Health({ database: broken, dapr: fine });
  const body = { status: 'unavailable', checks: { database: 'ECONNREFUSED', dapr: 'ok' } };
  expect(await probe(health, '/readyz')).toEqual([503, body]);
});

test('a process whose checks fail is alive all the same: starting it again would not help', async () => {
  expect(await probe(new Health({ database: broken }), '/healthz')).toEqual([200, { status: 'ok' }]);
});

test('a process that leaves is not ready at once, and not healthy when it says so', async () => {
  const health = new Health({ database: fine });
  health.leave();
  expect(await probe(health, '/readyz')).toEqual([
    503,
    { status: 'unavailable', checks: { process: 'shutting down' } },
  ]);
  expect((await probe(health, '/healthz'))[0]).toBe(200);
  health.abandon();
  expect(await probe(health, '/healthz')).toEqual([503, { status: 'stopping' }]);
});

test('a check that does not answer has failed', async () => {
  const health = new Health({ dapr: () => new Promise(() => undefined) });
  expect(await health.readiness()).toEqual({ ready: false, checks: { dapr: 'Error' } });
});

test('the sidecar is asked whether it can send, and for nothing else', async () => {
  let status = 204;
  const asked: unknown[] = [];
  const sidecar = createServer((request, response) => {
    asked.push(request.url);
    response.writeHead(status).end();
  }).listen(0, '127.0.0.1');
  await once(sidecar, 'listening');
  const check = daprCheck({ port: (sidecar.address() as AddressInfo).port });
  await check();
  status = 500;
  await expect(check()).rejects.toThrow('not ready');
  expect(asked).toEqual(['/v1.0/healthz/outbound', '/v1.0/healthz/outbound']);
  sidecar.closeAllConnections();
  sidecar.close();
  await expect(check()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
