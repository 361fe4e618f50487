import { connect, type Socket } from 'node:net';
import { Client } from 'pg';
import { shareOfThisThread } from '../../../support/share-of-this-thread.ts';
import { aPerson, PASSWORD } from '../support.ts';
import { type MemberApi, problem, startMemberApi } from './api.ts';

let api: MemberApi;
beforeAll(async () => {
  api = await startMemberApi();
});
afterAll(() => api[Symbol.asyncDispose]());

const health = async () => expect((await api.call('GET', '/healthz')).status).toBe(200);

test('a database that answers nobody is a 503 that says when to come back; the process stays alive, and recovers by itself', async () => {
  const somebody = await api.somebody();
  const blocker = new Client({ connectionString: api.system.database.urls.owner });
  await blocker.connect();
  await blocker.query('begin; lock table session in access exclusive mode');
  const asked = Array.from({ length: 40 }, () => api.call('GET', '/v1/sessions/current', { token: somebody.token }));
  // Those that find no connection within five seconds are told so, while the others still wait.
  const first = await Promise.race(asked);
  expect(first).toMatchObject(problem('database-unavailable', 503));
  expect(Number(first.headers.get('retry-after'))).toBeGreaterThan(0);
  await health();
  await blocker.query('rollback');
  await blocker.end();
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([200, 503]));
  expect(await api.call('GET', '/v1/sessions/current', { token: somebody.token })).toMatchObject({ status: 200 });
}, 30_000);

test('hundreds of clients that never finish their requests keep nobody else waiting', async () => {
  const { email } = await api.somebody();
  const { hostname, port } = new URL(api.url);
  const sockets: Socket[] = [];
  try {
    for (let i = 0; i < 500; i++) {
      const socket = connect(Number(port), hostname).on('error', () => undefined);
      // Some stop in the middle of a header, some in the middle of a body.
      socket.write(
        i % 2 === 0
          ? 'POST /v1/members HTTP/1.1\r\nHost: x\r\nX-'
          : 'POST /v1/members HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"email":',
      );
      sockets.push(socket);
    }
    await health();
    const device = { id: 'a phone', name: 'phone', os: 'any' };
    const answer = await api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
    expect(answer.status).toBe(201);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

test('a flood of registrations is worked off or turned away in order, and others are served meanwhile', async () => {
  let [flooding, answered] = [true, 0];
  const watching = (async () => {
    for (; flooding; answered++) await health();
  })();
  const answers = await Promise.all(
    Array.from({ length: 150 }, () => api.call('POST', '/v1/members', { body: { ...aPerson(), password: PASSWORD } })),
  );
  flooding = false;
  await watching;
  for (const answer of answers) if (answer.status !== 201) expect(answer).toMatchObject(problem('busy', 503));
  expect(answers.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(64);
  expect(answered).toBeGreaterThan(0);
});

test('log-ins at the same moment leave the event loop to others: most of their work is done elsewhere', async () => {
  const people = await Promise.all(Array.from({ length: 8 }, () => api.somebody()));
  const device = { id: 'a phone', name: 'phone', os: 'any' };
  const logIn = ({ email }: { email: string }) =>
    api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
  const share = await shareOfThisThread(async () => {
    for (const { status } of await Promise.all([people, people, people, people].flat().map(logIn)))
      expect(status).toBe(201);
  });
  // A third, with the clients' side, which is here too; all of it, were passwords checked on the event loop.
  expect(share).toBeLessThan(0.6);
});
