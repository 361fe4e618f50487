import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { portOneIdentityProvider } from '../../../../services/member/portone-identity-provider.ts';
import { eventually } from '../../../support/eventually.ts';
import { aPerson, PASSWORD } from '../support.ts';
import { type MemberApi, problem, type Somebody, startMemberApi } from './api.ts';

/** More than there are connections to the database. */
const MANY = 60;
const UNAVAILABLE = problem('identity-provider-unavailable', 503);

/** What the provider does in the test. */
let answer: RequestListener;
let provider: Server;
let api: MemberApi;
beforeAll(async () => {
  provider = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  api = await startMemberApi(asking({ tryMs: 30_000, totalMs: 60_000 }));
});
afterAll(async () => {
  await api[Symbol.asyncDispose]();
  provider.closeAllConnections();
  provider.close();
});

function asking(patience: { tryMs: number; totalMs: number }, url?: string) {
  const { port } = provider.address() as AddressInfo;
  return portOneIdentityProvider({
    url: url ?? `http://127.0.0.1:${port}`,
    secret: 'a-secret-of-ours-0123456789',
    patience: { ...patience, tries: 2, backoffMs: 5 },
  });
}

const verified: RequestListener = ({ url = '' }, response) => {
  const id = decodeURIComponent(url.split('/').at(-1)!);
  response.end(JSON.stringify({ status: 'VERIFIED', id, verifiedCustomer: { ci: `CI of ${id}` } }));
};
const says =
  (status: number, body: string, headers = {}): RequestListener =>
  (_, response) =>
    response.writeHead(status, headers).end(body);

const verify = ({ id, token }: Somebody, at = api) =>
  at.call('PUT', `/v1/members/${id}/identity-verification`, { token, body: { identityVerificationId: id } });
const seen = ({ id, token }: Somebody, at = api) => at.call('GET', `/v1/members/${id}`, { token });

/** Nothing of the member has changed, nothing is stated, and what comes next finds everything in order. */
async function expectNothing(member: Somebody, at = api) {
  expect((await seen(member, at)).body.identityVerification).toEqual({ status: 'NONE' });
  expect(await at.system.factsOf(member.id)).toEqual(['member.registered', 'member.logged-in']);
  expect(await at.system.messagesOf(member.id)).toHaveLength(2);
}

describe('A provider that', () => {
  test.each<[string, RequestListener, string]>([
    ['is down', says(503, ''), '5'],
    ['asks for patience', says(429, '', { 'retry-after': '77' }), '77'],
    ['breaks off', ({ socket }) => socket.destroy(), '5'],
    ['does not know our secret', says(401, '{}'), '5'],
    ['has moved', says(302, '', { location: 'https://example.com/' }), '5'],
    ['answers what is no JSON', says(200, '<html>'), '5'],
    ['answers nothing', says(200, ''), '5'],
    ['answers something else', says(200, '{"status":"PERHAPS"}'), '5'],
    ['answers of somebody else', says(200, '{"status":"VERIFIED","id":"x","verifiedCustomer":{"ci":"y"}}'), '5'],
  ])('%s is a 503 that says when to come back; nothing is changed, and it works afterwards', async (_, does, after) => {
    const member = await api.somebody();
    answer = does;
    const refused = await verify(member);
    expect(refused).toMatchObject(UNAVAILABLE);
    expect(refused.headers.get('content-type')).toBe('application/problem+json');
    expect(refused.headers.get('retry-after')).toBe(after);
    await expectNothing(member);
    answer = verified;
    expect(await verify(member)).toMatchObject({ status: 200, body: { status: 'VERIFIED' } });
  });

  test('cannot be reached is a 503 too', async () => {
    await using unreached = await startMemberApi(asking({ tryMs: 5_000, totalMs: 10_000 }, 'http://127.0.0.1:1'));
    const member = await unreached.somebody();
    expect(await verify(member, unreached)).toMatchObject(UNAVAILABLE);
    await expectNothing(member, unreached);
  });

  test.each<[string, RequestListener]>([
    ['never answers', () => undefined],
    ['never comes to an end', (_, response) => void response.writeHead(200).write('{"status":')],
  ])('%s is given up in time: a 503, and nothing is changed', async (_, does) => {
    await using hurried = await startMemberApi(asking({ tryMs: 500, totalMs: 2_000 }));
    const member = await hurried.somebody();
    answer = does;
    const refused = await verify(member, hurried);
    expect(refused).toMatchObject(UNAVAILABLE);
    expect(refused.headers.get('retry-after')).toBe('5');
    await expectNothing(member, hurried);
  });

  test('speaks of a person in what cannot be read is not quoted, neither in the answer nor in the log', async () => {
    const member = await api.somebody();
    answer = says(200, 'Anna Kim 01012345678');
    expect(JSON.stringify(await verify(member))).not.toMatch(/Anna|0101/);
    expect(api.log()).toContain('identity-provider-unavailable');
    expect(api.log()).not.toMatch(/Anna Kim|01012345678/);
  });
});

test('while many wait for a provider that hangs, others register and read; once it answers, all are told', async () => {
  const [waiting, reading] = [await api.somebody(), await api.somebody()];
  const held: (() => void)[] = [];
  answer = (request, response) => void held.push(() => verified(request, response));
  const asked = Array.from({ length: MANY }, () => verify(waiting));
  await eventually(() => expect(held).toHaveLength(MANY));
  for (let i = 0; i < 10; i++) {
    const registered = await api.call('POST', '/v1/members', { body: { ...aPerson(), password: PASSWORD } });
    expect(registered.status).toBe(201);
    expect((await seen(reading)).status).toBe(200);
  }
  await expectNothing(waiting);
  // Not even the member who waits is locked.
  expect(
    (await api.call('PATCH', `/v1/members/${waiting.id}`, { token: waiting.token, body: { name: 'Anne' } })).status,
  ).toBe(200);
  expect(held).toHaveLength(MANY);
  for (const release of held) release();
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(1);
  for (const status of statuses) expect([200, 409]).toContain(status);
  const facts = await api.system.factsOf(waiting.id);
  expect(facts.filter((type) => type === 'member.identity-verified')).toHaveLength(1);
});
