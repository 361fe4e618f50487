import { PASSWORD } from '../support.ts';
import { type MemberApi, problem, startMemberApi } from './api.ts';

let api: MemberApi;
let call: MemberApi['call'];
beforeAll(async () => {
  api = await startMemberApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());

const device = { id: 'a phone', name: 'Anna’s phone', os: 'Android 16' };

describe('Invalid requests', () => {
  const member = { email: 'a@example.com', password: PASSWORD, name: 'Anna' };
  const session = { email: 'a@example.com', password: PASSWORD, device };
  const bodies: [path: string, problem: string, body: unknown][] = [
    ['/v1/members', 'an unknown field', { ...member, role: 'operator' }],
    ['/v1/members', 'an invalid e-mail address', { ...member, email: 'not an address' }],
    ['/v1/members', 'too long an e-mail address', { ...member, email: `${'a'.repeat(250)}@example.com` }],
    ['/v1/members', 'too long a name', { ...member, name: 'x'.repeat(101) }],
    ['/v1/members', 'a NUL in the name', { ...member, name: 'nul \u0000' }],
    ['/v1/members', 'a lone surrogate in the name', { ...member, name: 'half a pair \ud800' }],
    ['/v1/members', 'a blank name', { ...member, name: ' ' }],
    ['/v1/members', 'too short a password', { ...member, password: '7 chars' }],
    ['/v1/members', 'too long a password', { ...member, password: 'x'.repeat(129) }],
    ['/v1/members', 'a number as the name', { ...member, name: 7 }],
    ['/v1/members', 'missing fields', { email: member.email }],
    ['/v1/members', 'an array as the body', []],
    ['/v1/members', 'malformed JSON', '{'],
    ['/v1/members', 'null as the body', 'null'],
    ['/v1/sessions', 'an empty device id', { ...session, device: { ...device, id: '' } }],
    ['/v1/sessions', 'an unknown device field', { ...session, device: { ...device, battery: 5 } }],
    ['/v1/sessions', 'no device', { ...session, device: undefined }],
    ['/v1/sessions', 'a NUL in the device name', { ...session, device: { ...device, name: 'nul \u0000' } }],
  ];
  test.each(bodies)('POST %s with %s answers 400', async (path, _, body) => {
    const { status, headers, body: answer } = await call('POST', path, { body });
    expect(status).toBe(400);
    expect(headers.get('content-type')).toMatch(/^application\/problem\+json/);
    expect(['invalid-request', 'malformed-body']).toContain(answer.slug);
  });

  test.each([
    '/v1/members/42',
    '/v1/members/%00',
    '/v1/sessions?limit=0',
    '/v1/sessions?limit=1e9',
    '/v1/sessions?before=-1',
    '/v1/sessions?before=9999999999999999999',
    '/v1/sessions?unknown=1',
  ])('GET %s answers 400', async (path) => {
    const { token } = await api.createMember();
    expect((await call('GET', path, { token })).status).toBe(400);
  });

  test.each([
    ['password', 'too short a new password', { currentPassword: PASSWORD, newPassword: 'short' }],
    ['identity-verification', 'too long an id', { identityVerificationId: 'x'.repeat(201) }],
    ['identity-verification', 'a NUL in the id', { identityVerificationId: 'nul \u0000' }],
  ])('PUT %s with %s answers 400', async (path, _, body) => {
    const { id, token } = await api.createMember();
    expect((await call('PUT', `/v1/members/${id}/${path}`, { token, body })).status).toBe(400);
  });

  test('releasing a verification without a valid reason answers 400', async () => {
    const { id, token } = await api.createMember();
    for (const body of [undefined, {}, { reason: '' }, { reason: 'x'.repeat(501) }]) {
      const answer = await call('DELETE', `/v1/members/${id}/identity-verification`, { token, body });
      expect(answer).toMatchObject(problem('invalid-request', 400));
    }
  });
});
