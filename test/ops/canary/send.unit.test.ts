import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sendCanary } from '../../../ops/canary/send.ts';

const ID = '0198d7a2-0000-7000-8000-000000000001';
type Answer = [status: number, body: unknown];
const hop = (name: string, at: string | null, problem: string | null = null) => ({ name, at, problem });
const NOW = '2030-01-01T00:00:00.000Z';

/** Starts an API that gives these answers in order and repeats the last one. */
async function api(sent: Answer[], followed: Answer[] = []) {
  const requests: string[] = [];
  const next = (answers: Answer[]) => (answers.length > 1 ? answers.shift()! : answers[0]!);
  const server = createServer((request, response: ServerResponse) => {
    requests.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    const [status, body] = next(request.method === 'POST' ? sent : followed);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const lines: string[] = [];
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    requests,
    lines,
    url,
    /** @param timeoutMs (default 3 s, enough for one answer on a busy machine) */
    send: (timeoutMs = 3_000) =>
      sendCanary('lamp', { apiUrl: url, operatorToken: 'token', timeoutMs, tell: (line) => lines.push(line) }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const SENT: Answer = [201, { id: ID }];
const trace = (...hops: object[]): Answer => [200, { hops }];

test('each hop is printed once when it is done, and the command ends after the last', async () => {
  await using it = await api(
    [SENT],
    [trace(hop('row', NOW), hop('relay', null, 'slow')), trace(hop('row', NOW), hop('relay', NOW))],
  );
  await it.send();
  expect(it.lines).toEqual([
    `canary ${ID} of lamp`,
    expect.stringMatching(/^ {2}row \(\d+\.\d s\)$/),
    expect.stringMatching(/^ {2}relay \(\d+\.\d s\)$/),
  ]);
  expect(it.requests[0]).toBe('POST /v1/canaries/lamp Bearer token');
  expect(it.requests[1]).toBe(`GET /v1/canaries/lamp/${ID} Bearer token`);
});

test('the first missing hop is named with its problem, even if later hops are done', async () => {
  await using it = await api(
    [SENT],
    [trace(hop('row', NOW), hop('recorder', null, 'not received'), hop('broadcaster', NOW))],
  );
  await expect(it.send(1_500)).rejects.toThrow(/^stopped at: recorder: not received$/);
  expect(it.lines).toHaveLength(2);
});

test('the timeout applies to each hop', async () => {
  const hops = (passed: number) => trace(...[0, 1, 2, 3].map((n) => hop(`${n}`, n < passed ? NOW : null, 'slow')));
  const traces = [1, 2, 3, 4].flatMap((passed) => Array.from({ length: 6 }, () => hops(passed)));
  await using it = await api([SENT], traces);
  const began = performance.now();
  // 19 polls, 200 ms apart: longer than the timeout of one hop.
  await it.send(3_000);
  expect(performance.now() - began).toBeGreaterThan(3_000);
  expect(it.lines).toHaveLength(5);
});

test('an unavailable API is retried, and in the end named with its answer', async () => {
  await using it = await api([[503, { slug: 'database-unavailable' }], SENT], [trace(hop('row', NOW))]);
  await it.send();
  expect(it.requests.filter((line) => line.startsWith('POST'))).toHaveLength(2);
  await using down = await api([[503, { slug: 'database-unavailable' }]]);
  await expect(down.send(1_500)).rejects.toThrow(
    /^stopped at: API http.*: POST \/v1\/canaries\/lamp answered 503: .*database-unavailable/,
  );
});

test('an unreachable API is named', async () => {
  const it = await api([SENT]);
  await it[Symbol.asyncDispose]();
  await expect(it.send(1_500)).rejects.toThrow(`stopped at: API ${it.url}: fetch failed: connect ECONNREFUSED`);
});

test('an API with an unexpected answer is named', async () => {
  await using it = await api([[200, { nothing: true }]]);
  await expect(it.send(1_500)).rejects.toThrow(`stopped at: API ${it.url}`);
});
