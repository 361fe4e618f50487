import { randomUUID } from 'node:crypto';
import { memberClient } from '../../../services/family-account/member-client.ts';
import { eventually } from '../../support/eventually.ts';
import { type MemberApi, READER, type Somebody, startMemberApi } from '../member/http/api.ts';
import { answerJson, type StandIn, standInForDaprd } from './daprd.ts';
import { type FamilyAccountApi, problem, startFamilyAccountApi } from './http/api.ts';

// The real member API and the real family-account API; only what carries the questions between them is stood in for.
let members: MemberApi;
let daprd: StandIn;
let client: ReturnType<typeof memberClient>;
let families: FamilyAccountApi;
beforeAll(async () => {
  members = await startMemberApi();
  daprd = await standInForDaprd(async ({ path, headers }, response) => {
    const token = headers.authorization?.replace('Bearer ', '');
    const { status, body } = await members.call('GET', path, { token });
    answerJson(response, status, body);
  });
  client = memberClient({
    daprPort: daprd.port,
    daprApiToken: 'token-of-the-sidecar',
    appId: 'member',
    readerToken: READER,
  });
  families = await startFamilyAccountApi(client);
});
afterAll(async () => {
  await families[Symbol.asyncDispose]();
  await client[Symbol.asyncDispose]();
  await daprd[Symbol.asyncDispose]();
  await members[Symbol.asyncDispose]();
});

async function verified(): Promise<Somebody> {
  const somebody = await members.somebody();
  const path = `/v1/members/${somebody.id}/identity-verification`;
  await members.call('PUT', path, { token: somebody.token, body: { identityVerificationId: `ok-${randomUUID()}` } });
  return somebody;
}

const open = ({ token }: Somebody) => families.call('POST', '/v1/family-accounts', { token, body: { name: 'Home' } });

test('A verified member opens a family account with the token of a session at the member API', async () => {
  const anna = await verified();
  const { status, body } = await open(anna);
  expect([status, body.members]).toMatchObject([201, [{ memberId: anna.id, role: 'OWNER' }]]);
});

test('A member whose identity is not verified does not', async () => {
  expect(await open(await members.somebody())).toMatchObject(problem('identity-not-verified', 403));
});

test('A session that has ended is refused within seconds', async () => {
  const anna = await verified();
  const look = () => families.call('GET', '/v1/family-accounts', { token: anna.token });
  expect((await look()).status).toBe(200);
  await members.call('DELETE', '/v1/sessions/current', { token: anna.token });
  await eventually(async () => expect(await look()).toMatchObject(problem('unauthenticated', 401)), {
    timeoutMs: 5_000,
  });
});

test('Another system’s credential opens no family account', async () => {
  const answer = await families.call('GET', '/v1/family-accounts', { token: READER });
  expect(answer).toMatchObject(problem('unauthenticated', 401));
});

test('The newest state of a member is understood as the member API tells it', async () => {
  const anna = await verified();
  expect(await client.standingOf(anna.id)).toBe('VERIFIED');
  const path = `/v1/members/${anna.id}`;
  await members.call('DELETE', `${path}/identity-verification`, { token: anna.token, body: { reason: 'expired' } });
  expect(await client.standingOf(anna.id)).toBe('NOT_VERIFIED');
  await members.call('DELETE', path, { token: anna.token });
  expect(await client.standingOf(anna.id)).toBe('WITHDRAWN');
  expect(await client.standingOf(randomUUID())).toBe('NOT_VERIFIED');
});
