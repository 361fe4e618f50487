import { v7 as uuid } from 'uuid';
import { PASSWORD } from '../support.ts';
import { type MemberApi, OPERATOR, problem, READER, startMemberApi } from './api.ts';

let api: MemberApi;
let call: MemberApi['call'];
beforeAll(async () => {
  api = await startMemberApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());

const _device = { id: 'a phone', name: 'Anna’s phone', os: 'Android 16' };

describe('A member’s own resources', () => {
  // All rows have the same length: Jest would pass its callback for a missing last argument.
  const routes: [method: string, path: string, body: object | undefined][] = [
    ['GET', '', undefined],
    ['PATCH', '', { name: 'Anne' }],
    ['DELETE', '', undefined],
    ['PUT', '/password', { currentPassword: PASSWORD, newPassword: PASSWORD }],
    ['PUT', '/identity-verification', { identityVerificationId: 'ok-1' }],
    ['DELETE', '/identity-verification', { reason: 'because' }],
    ['GET', '/login-records', undefined],
  ];

  test.each(routes)('answer other members 403, as for an unknown id: %s %s', async (method, path, body) => {
    const [anna, ben] = [await api.createMember(), await api.createMember()];
    const answers = await Promise.all(
      [anna.id, uuid()].map((id) => call(method, `/v1/members/${id}${path}`, { token: ben.token, body })),
    );
    for (const answer of answers) expect(answer).toMatchObject(problem('forbidden', 403));
    const [existing, unknown] = answers.map(({ body: { instance: _, ...rest } }) => rest);
    expect(existing).toEqual(unknown);
  });

  test('are shown to other systems without personal data', async () => {
    const { id } = await api.createMember();
    const { body } = await call('GET', `/v1/members/${id}`, { token: READER });
    expect(body).toEqual({ id, status: 'ACTIVE', identityVerification: { status: 'NONE' } });
  });
});

test('Operators and other systems cannot read a current session', async () => {
  const path = '/v1/sessions/current';
  expect(await call('GET', path, { token: READER })).toMatchObject(problem('forbidden', 403));
  expect(await call('GET', path, { token: OPERATOR })).toMatchObject(problem('no-such-route', 404));
  for (const token of [OPERATOR, READER])
    expect(await call('GET', path, { token, at: 'public' })).toMatchObject(problem('unauthenticated', 401));
});
