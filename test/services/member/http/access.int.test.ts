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

describe('What belongs to a member', () => {
  // Each as long as the others: Jest takes a missing last one for its callback.
  const routes: [method: string, path: string, body: object | undefined][] = [
    ['GET', '', undefined],
    ['PATCH', '', { name: 'Anne' }],
    ['DELETE', '', undefined],
    ['PUT', '/password', { currentPassword: PASSWORD, newPassword: PASSWORD }],
    ['PUT', '/identity-verification', { identityVerificationId: 'ok-1' }],
    ['DELETE', '/identity-verification', { reason: 'because' }],
    ['GET', '/login-records', undefined],
  ];

  test.each(routes)(
    'is closed to other members, and alike where there is nobody: %s %s',
    async (method, path, body) => {
      const [anna, ben] = [await api.somebody(), await api.somebody()];
      const answers = await Promise.all(
        [anna.id, uuid()].map((id) => call(method, `/v1/members/${id}${path}`, { token: ben.token, body })),
      );
      for (const answer of answers) expect(answer).toMatchObject(problem('forbidden', 403));
      const [real, nobody] = answers.map(({ body: { instance: _, ...rest } }) => rest);
      expect(real).toEqual(nobody);
    },
  );

  test('is told to other systems without personal data', async () => {
    const { id } = await api.somebody();
    const { body } = await call('GET', `/v1/members/${id}`, { token: READER });
    expect(body).toEqual({ id, status: 'ACTIVE', identityVerification: { status: 'NONE' } });
  });
});

test('An operator’s and another system’s credential open no session', async () => {
  for (const token of [OPERATOR, READER]) {
    expect(await call('GET', '/v1/sessions/current', { token })).toMatchObject(problem('forbidden', 403));
  }
});
