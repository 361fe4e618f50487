import { randomUUID } from 'node:crypto';
import { memberClient } from '../../../services/family-account/member-client.ts';
import { eventually } from '../../support/eventually.ts';
import { type LoggedInMember, type MemberApi, READER, startMemberApi } from '../member/http/api.ts';
import { answerJson, type FakeDaprd, startFakeDaprd } from './daprd.ts';
import { type FamilyAccountApi, problem, startFamilyAccountApi } from './http/api.ts';

// The real member API and the real family-account API; only the sidecar between them is a fake.
let members: MemberApi;
let daprd: FakeDaprd;
let client: ReturnType<typeof memberClient>;
let families: FamilyAccountApi;
beforeAll(async () => {
  members = await startMemberApi();
  daprd = await startFakeDaprd(async ({ path, headers }, response) => {
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

async function createVerifiedMember(): Promise<LoggedInMember> {
  const member = await members.createMember();
  const path = `/v1/members/${member.id}/identity-verification`;
  await members.call('PUT', path, { token: member.token, body: { identityVerificationId: `ok-${randomUUID()}` } });
  return member;
}

const open = ({ token }: LoggedInMember) =>
  families.call('POST', '/v1/family-accounts', { token, body: { name: 'Home' } });

test('A verified member opens a family account with its session token of the member API', async () => {
  const anna = await createVerifiedMember();
  const { status, body } = await open(anna);
  expect([status, body.members]).toMatchObject([201, [{ memberId: anna.id, role: 'OWNER' }]]);
});

test('An unverified member cannot open a family account', async () => {
  expect(await open(await members.createMember())).toMatchObject(problem('identity-not-verified', 403));
});

test('An ended session is rejected within seconds', async () => {
  const anna = await createVerifiedMember();
  const list = () => families.call('GET', '/v1/family-accounts', { token: anna.token });
  expect((await list()).status).toBe(200);
  await members.call('DELETE', '/v1/sessions/current', { token: anna.token });
  await eventually(async () => expect(await list()).toMatchObject(problem('unauthenticated', 401)), {
    timeoutMs: 5_000,
  });
});

test('Another system’s credential cannot read family accounts', async () => {
  const answer = await families.call('GET', '/v1/family-accounts', { token: READER });
  expect(answer).toMatchObject(problem('unauthenticated', 401));
});

test('The member client reads all standings that the member API answers', async () => {
  const anna = await createVerifiedMember();
  expect(await client.standingOf(anna.id)).toBe('VERIFIED');
  const path = `/v1/members/${anna.id}`;
  await members.call('DELETE', `${path}/identity-verification`, { token: anna.token, body: { reason: 'expired' } });
  expect(await client.standingOf(anna.id)).toBe('NOT_VERIFIED');
  await members.call('DELETE', path, { token: anna.token });
  expect(await client.standingOf(anna.id)).toBe('WITHDRAWN');
  expect(await client.standingOf(randomUUID())).toBe('NOT_VERIFIED');
});
