import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { portOneIdentityProvider } from '../../../../services/member/portone-identity-provider.ts';
import { eventually } from '../../../support/eventually.ts';
import { aPerson, PASSWORD } from '../support.ts';
import { type LoggedInMember, type MemberApi, problem, startMemberApi } from './api.ts';

/** More than the database pool has connections. */
const MANY = 60;
const UNAVAILABLE = problem('identity-provider-unavailable', 503);

/** How the fake provider answers at the moment. */
let answer: RequestListener;
let provider: Server;
let api: MemberApi;
beforeAll(async () => {
  provider = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  api = await startMemberApi(clientOf({ tryMs: 30_000, totalMs: 60_000 }));
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  provider.closeAllConnections();
  provider.close();
});

function clientOf(timeouts: { tryMs: number; totalMs: number }, url?: string) {
  const { port } = provider.address() as AddressInfo;
  return portOneIdentityProvider({
    url: url ?? `http://127.0.0.1:${port}`,
    secret: 'a-secret-of-ours-0123456789',
    patience: { ...timeouts, tries: 2, backoffMs: 5 },
  });
}

const verified: RequestListener = ({ url = '' }, response) => {
  const id = decodeURIComponent(url.split('/').at(-1)!);
  response.end(JSON.stringify({ status: 'VERIFIED', id, verifiedCustomer: { ci: `CI of ${id}` } }));
};
const answering =
  (status: number, body: string, headers = {}): RequestListener =>
  (_, response) =>
    response.writeHead(status, headers).end(body);

const verify = ({ id, token }: LoggedInMember, at = api) =>
  at.call('PUT', `/v1/members/${id}/identity-verification`, { token, body: { identityVerificationId: id } });
const read = ({ id, token }: LoggedInMember, at = api) => at.call('GET', `/v1/members/${id}`, { token });

/** Checks that the member is unchanged and that no further event or message was recorded. */
async function expectUnchanged(member: LoggedInMember, at = api) {
  expect((await read(member, at)).body.identityVerification).toEqual({ status: 'NONE' });
  expect(await at.system.eventTypesOf(member.id)).toEqual(['member.registered', 'member.logged-in']);
  expect(await at.system.messagesOf(member.id)).toHaveLength(2);
}

describe('An identity provider that', () => {
  test.each<[string, RequestListener, string]>([
    ['is down', answering(503, ''), '5'],
    ['limits our rate', answering(429, '', { 'retry-after': '77' }), '77'],
    ['drops the connection', ({ socket }) => socket.destroy(), '5'],
    ['rejects our secret', answering(401, '{}'), '5'],
    ['redirects', answering(302, '', { location: 'https://example.com/' }), '5'],
    ['answers with invalid JSON', answering(200, '<html>'), '5'],
    ['answers with an empty body', answering(200, ''), '5'],
    ['answers with an unknown status', answering(200, '{"status":"PERHAPS"}'), '5'],
    ['answers for another id', answering(200, '{"status":"VERIFIED","id":"x","verifiedCustomer":{"ci":"y"}}'), '5'],
  ])('%s causes 503 with Retry-After and no change, then recovers', async (_, behaviour, retryAfter) => {
    const member = await api.createMember();
    answer = behaviour;
    const refused = await verify(member);
    expect(refused).toMatchObject(UNAVAILABLE);
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    expect(refused.headers.get('retry-after')).toBe(retryAfter);
    await expectUnchanged(member);
    answer = verified;
    expect(await verify(member)).toMatchObject({ status: 200, body: { status: 'VERIFIED' } });
  });

  test('cannot be reached causes 503', async () => {
    await using unreachable = await startMemberApi(clientOf({ tryMs: 5_000, totalMs: 10_000 }, 'http://127.0.0.1:1'));
    const member = await unreachable.createMember();
    expect(await verify(member, unreachable)).toMatchObject(UNAVAILABLE);
    await expectUnchanged(member, unreachable);
  });

  test.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    ['never ends its answer', (_, response) => void response.writeHead(200).write('{"status":')],
  ])('%s is timed out with 503, and nothing changes', async (_, behaviour) => {
    await using impatient = await startMemberApi(clientOf({ tryMs: 500, totalMs: 2_000 }));
    const member = await impatient.createMember();
    answer = behaviour;
    const refused = await verify(member, impatient);
    expect(refused).toMatchObject(UNAVAILABLE);
    expect(refused.headers.get('retry-after')).toBe('5');
    await expectUnchanged(member, impatient);
  });

  test('sends unparsable personal data is quoted neither in the response nor in the log', async () => {
    const member = await api.createMember();
    answer = answering(200, 'Anna Kim 01012345678');
    expect(JSON.stringify(await verify(member))).not.toMatch(/Anna|0101/);
    expect(api.log()).toContain('identity-provider-unavailable');
    expect(api.log()).not.toMatch(/Anna Kim|01012345678/);
  });
});

test('a hanging identity provider blocks no other request; waiting ones finish when it answers', async () => {
  const [waiting, reading] = [await api.createMember(), await api.createMember()];
  const pending: (() => void)[] = [];
  answer = (request, response) => void pending.push(() => verified(request, response));
  const verifications = Array.from({ length: MANY }, () => verify(waiting));
  await eventually(() => expect(pending).toHaveLength(MANY));
  for (let i = 0; i < 10; i++) {
    const registered = await api.call('POST', '/v1/members', { body: { ...aPerson(), password: PASSWORD } });
    expect(registered.status).toBe(201);
    expect((await read(reading)).status).toBe(200);
  }
  await expectUnchanged(waiting);
  // The waiting member is not locked either.
  expect(
    (await api.call('PATCH', `/v1/members/${waiting.id}`, { token: waiting.token, body: { name: 'Anne' } })).status,
  ).toBe(200);
  expect(pending).toHaveLength(MANY);
  for (const release of pending) release();
  const statuses = (await Promise.all(verifications)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1);
  for (const status of statuses) expect([200, 409]).toContain(status);
  const eventTypes = await api.system.eventTypesOf(waiting.id);
  expect(eventTypes.filter((type) => type === 'member.identity-verified')).toHaveLength(1);
});
