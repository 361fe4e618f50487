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

describe('A bad request is answered with what is wrong with it, and never with a 5xx', () => {
  const member = { email: 'a@example.com', password: PASSWORD, name: 'Anna' };
  const session = { email: 'a@example.com', password: PASSWORD, device };
  const bodies: [path: string, body: unknown][] = [
    ['/v1/members', { ...member, role: 'operator' }],
    ['/v1/members', { ...member, email: 'not an address' }],
    ['/v1/members', { ...member, email: `${'a'.repeat(250)}@example.com` }],
    ['/v1/members', { ...member, name: 'x'.repeat(101) }],
    ['/v1/members', { ...member, name: 'nul \u0000' }],
    ['/v1/members', { ...member, name: 'half a pair \ud800' }],
    ['/v1/members', { ...member, name: ' ' }],
    ['/v1/members', { ...member, password: '7 chars' }],
    ['/v1/members', { ...member, password: 'x'.repeat(129) }],
    ['/v1/members', { ...member, name: 7 }],
    ['/v1/members', { email: member.email }],
    ['/v1/members', []],
    ['/v1/members', '{'],
    ['/v1/members', 'null'],
    ['/v1/sessions', { ...session, device: { ...device, id: '' } }],
    ['/v1/sessions', { ...session, device: { ...device, battery: 5 } }],
    ['/v1/sessions', { ...session, device: undefined }],
    ['/v1/sessions', { ...session, device: { ...device, name: 'nul \u0000' } }],
  ];
  test.each(bodies)('POST %s %j', async (path, body) => {
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
  ])('GET %s', async (path) => {
    const { token } = await api.somebody();
    expect((await call('GET', path, { token })).status).toBe(400);
  });

  test.each([
    ['password', { currentPassword: PASSWORD, newPassword: 'short' }],
    ['identity-verification', { identityVerificationId: 'x'.repeat(201) }],
    ['identity-verification', { identityVerificationId: 'nul \u0000' }],
  ])('PUT %s %j', async (path, body) => {
    const { id, token } = await api.somebody();
    expect((await call('PUT', `/v1/members/${id}/${path}`, { token, body })).status).toBe(400);
  });

  test('releasing a verification without a reason', async () => {
    const { id, token } = await api.somebody();
    for (const body of [undefined, {}, { reason: '' }, { reason: 'x'.repeat(501) }]) {
      const answer = await call('DELETE', `/v1/members/${id}/identity-verification`, { token, body });
      expect(answer).toMatchObject(problem('invalid-request', 400));
    }
  });
});
