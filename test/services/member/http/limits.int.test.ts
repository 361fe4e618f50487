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

const expectHealthy = async () => expect((await api.call('GET', '/healthz', { at: 'operations' })).status).toBe(200);

test('a blocked database causes 503 with Retry-After, and the process recovers by itself', async () => {
  const member = await api.createMember();
  const blocker = new Client({ connectionString: api.system.database.urls.owner });
  await blocker.connect();
  await blocker.query('begin; lock table session in access exclusive mode');
  const answering = Array.from({ length: 40 }, () => api.call('GET', '/v1/sessions/current', { token: member.token }));
  // Requests without a connection after five seconds are answered 503, while the others still wait.
  const first = await Promise.race(answering);
  expect(first).toMatchObject(problem('database-unavailable', 503));
  expect(Number(first.headers.get('retry-after'))).toBeGreaterThan(0);
  await expectHealthy();
  await blocker.query('rollback');
  await blocker.end();
  const statuses = (await Promise.all(answering)).map(({ status }) => status);
  expect(new Set(statuses)).toEqual(new Set([200, 503]));
  expect(await api.call('GET', '/v1/sessions/current', { token: member.token })).toMatchObject({ status: 200 });
}, 30_000);

test('hundreds of unfinished requests do not delay other clients', async () => {
  const { email } = await api.createMember();
  const { hostname, port } = new URL(api.url);
  const sockets: Socket[] = [];
  try {
    for (let i = 0; i < 500; i++) {
      const socket = connect(Number(port), hostname).on('error', () => undefined);
      // Half stop within a header, half within a body.
      socket.write(
        i % 2 === 0
          ? 'POST /v1/members HTTP/1.1\r\nHost: x\r\nX-'
          : 'POST /v1/members HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"email":',
      );
      sockets.push(socket);
    }
    await expectHealthy();
    const device = { id: 'a phone', name: 'phone', os: 'any' };
    const answer = await api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
    expect(answer.status).toBe(201);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

test('a flood of registrations is answered 201 or busy, and other requests are served meanwhile', async () => {
  let [flooding, answered] = [true, 0];
  const watching = (async () => {
    for (; flooding; answered++) await expectHealthy();
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

test('concurrent logins do most of their work outside the event loop', async () => {
  const members = await Promise.all(Array.from({ length: 8 }, () => api.createMember()));
  const device = { id: 'a phone', name: 'phone', os: 'any' };
  const logIn = ({ email }: { email: string }) =>
    api.call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
  const share = await shareOfThisThread(async () => {
    for (const { status } of await Promise.all([members, members, members, members].flat().map(logIn)))
      expect(status).toBe(201);
  });
  // About a third, including the clients, which run here too; all of it if passwords were checked on the event loop.
  expect(share).toBeLessThan(0.6);
});
