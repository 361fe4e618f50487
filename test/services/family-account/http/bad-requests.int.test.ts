import { type FamilyAccountApi, problem, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
let call: FamilyAccountApi['call'];
beforeAll(async () => {
  api = await startFamilyAccountApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());

describe('Invalid requests', () => {
  test.each<[problem: string, body: unknown]>([
    ['no name', {}],
    ['an empty name', { name: '' }],
    ['a blank name', { name: ' ' }],
    ['too long a name', { name: 'x'.repeat(101) }],
    ['a NUL in the name', { name: 'nul \u0000' }],
    ['a lone surrogate in the name', { name: 'half a pair \ud800' }],
    ['a number as the name', { name: 7 }],
    ['an unknown field', { name: 'Home', members: [] }],
    ['malformed JSON', '{'],
    ['null as the body', 'null'],
  ])('POST /v1/family-accounts with %s answers 400', async (_, body) => {
    const { token } = api.createMember();
    const { status, body: answer } = await call('POST', '/v1/family-accounts', { token, body });
    expect([status, answer.slug]).toEqual([400, expect.stringMatching(/^(invalid-request|malformed-body)$/)]);
  });

  test.each([
    ['GET', 'an account id that is no UUID', '/v1/family-accounts/42'],
    ['GET', 'an encoded NUL as the account id', '/v1/family-accounts/%00'],
    ['GET', 'an unknown query parameter', '/v1/family-accounts?limit=1'],
    ['POST', 'too short an invitation code', '/v1/invitations/short/acceptance'],
    ['POST', 'encoded NULs as the invitation code', `/v1/invitations/${'%00'.repeat(32)}/acceptance`],
    ['DELETE', 'a member id that is no UUID', '/v1/family-accounts/0198d7a2-0000-7000-8000-000000000001/members/42'],
  ])('%s with %s answers 400', async (method, _, path) => {
    expect((await call(method, path, { token: api.createMember().token })).status).toBe(400);
  });

  test('an unknown invitation code answers 404', async () => {
    const { token } = api.createMember();
    const answer = await call('POST', `/v1/invitations/${'x'.repeat(32)}/acceptance`, { token });
    expect(answer).toMatchObject(problem('invitation-not-found', 404));
  });
});
