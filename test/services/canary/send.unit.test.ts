import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sendCanary } from '../../../services/canary/send.ts';

const ID = '0198d7a2-0000-7000-8000-000000000001';
type Answer = [status: number, body: unknown];
const hop = (name: string, at: string | null, trouble: string | null = null) => ({ name, at, trouble });
const NOW = '2030-01-01T00:00:00.000Z';

/** An API that answers a canary with these, one after the other, the last one for ever. */
async function api(sent: Answer[], followed: Answer[] = []) {
  const asked: string[] = [];
  const next = (answers: Answer[]) => (answers.length > 1 ? answers.shift()! : answers[0]!);
  const server = createServer((request, response: ServerResponse) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    const [status, body] = next(request.method === 'POST' ? sent : followed);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const lines: string[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    asked,
    lines,
    url,
    send: (timeoutMs = 500) =>
      sendCanary('lamp', { apiUrl: url, operatorToken: 'token', timeoutMs, tell: (line) => lines.push(line) }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const SENT: Answer = [201, { id: ID }];
const way = (...hops: object[]): Answer => [200, { hops }];

test('each hop is told once, as the canary comes by, and the command ends when it has come by all', async () => {
  await using it = await api(
    [SENT],
    [way(hop('row', NOW), hop('relay', null, 'slow')), way(hop('row', NOW), hop('relay', NOW))],
  );
  await it.send();
  expect(it.lines).toEqual([
    `canary ${ID} of lamp`,
    expect.stringMatching(/^ {2}row \(\d+\.\d s\)$/),
    expect.stringMatching(/^ {2}relay \(\d+\.\d s\)$/),
  ]);
  expect(it.asked[0]).toBe('POST /v1/canaries/lamp Bearer token');
  expect(it.asked[1]).toBe(`GET /v1/canaries/lamp/${ID} Bearer token`);
});

test('where it stops is named, with the reason, however far others would come', async () => {
  await using it = await api(
    [SENT],
    [way(hop('row', NOW), hop('recorder', null, 'does not hear'), hop('broadcaster', NOW))],
  );
  await expect(it.send()).rejects.toThrow(/^stopped at: recorder: does not hear$/);
  expect(it.lines).toHaveLength(2);
});

test('each hop has the whole time for itself', async () => {
  const hops = (passed: number) => way(...[0, 1, 2, 3].map((n) => hop(`${n}`, n < passed ? NOW : null, 'slow')));
  const slowly = [1, 1, 2, 2, 3, 3, 4].map(hops);
  await using it = await api([SENT], slowly);
  // 7 looks, 200 ms apart: longer than one hop may take.
  await it.send(700);
  expect(it.lines).toHaveLength(5);
});

test('an API that does not answer yet is asked again, in the end named with what it said', async () => {
  await using it = await api([[503, { slug: 'database-unavailable' }], SENT], [way(hop('row', NOW))]);
  await it.send();
  expect(it.asked.filter((line) => line.startsWith('POST'))).toHaveLength(2);
  await using down = await api([[503, { slug: 'database-unavailable' }]]);
  await expect(down.send(300)).rejects.toThrow(
    /^stopped at: API http.*: POST \/v1\/canaries\/lamp answered 503: .*database-unavailable/,
  );
});

test('an API that is not there is named', async () => {
  const it = await api([SENT]);
  await it[Symbol.asyncDispose]();
  await expect(it.send(300)).rejects.toThrow(`stopped at: API ${it.url}: fetch failed: connect ECONNREFUSED`);
});

test('an API that answers something else is named', async () => {
  await using it = await api([[200, { nothing: true }]]);
  await expect(it.send(300)).rejects.toThrow(`stopped at: API ${it.url}`);
});
