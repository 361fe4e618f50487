import { v7 as uuid } from 'uuid';
import { DependencyUnavailable } from '#process/errors';
import { type FamilyAccountApi, OPERATOR, problem, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
let call: FamilyAccountApi['call'];
beforeAll(async () => {
  api = await startFamilyAccountApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.system.member.beforeAnswer = () => undefined;
});

/** Opens a family account that Anna owns and Ben has joined. */
async function home() {
  const [anna, ben] = [api.createMember(), api.createMember()];
  const { body: account } = await call('POST', '/v1/family-accounts', { token: anna.token, body: { name: 'Home' } });
  const path = `/v1/family-accounts/${account.id}`;
  const { body: invitation } = await call('POST', `${path}/invitations`, { token: anna.token });
  await call('POST', `/v1/invitations/${invitation.code}/acceptance`, { token: ben.token });
  return { anna, ben, id: account.id as string, path };
}

test('requests repeated with an Idempotency-Key open, invite and join once', async () => {
  const [anna, ben] = [api.createMember(), api.createMember()];
  const twice = async (path: string, token: string, body?: object) => {
    const key = `a-key-of-this-test-${uuid()}`;
    const [first, second] = [
      await call('POST', path, { token, body, key }),
      await call('POST', path, { token, body, key }),
    ];
    expect(second).toMatchObject({ status: first.status, body: first.body });
    expect([first.headers.get('idempotency-replayed'), second.headers.get('idempotency-replayed')]).toEqual([
      null,
      'true',
    ]);
    return first;
  };
  const opened = await twice('/v1/family-accounts', anna.token, { name: 'Home' });
  expect(await api.system.database.sql('select subject from service.idempotency')).toEqual([{ subject: anna.id }]);
  const path = `/v1/family-accounts/${opened.body.id}`;
  const invited = await twice(`${path}/invitations`, anna.token);
  const joined = await twice(`/v1/invitations/${invited.body.code}/acceptance`, ben.token);
  expect([opened.status, invited.status, joined.status]).toEqual([201, 201, 200]);
  expect((await call('GET', path, { token: anna.token })).body.members).toHaveLength(2);
});

describe('A family account', () => {
  test('is opened, joined, handed over, left and closed', async () => {
    const [anna, ben] = [api.createMember(), api.createMember()];
    const opened = await call('POST', '/v1/family-accounts', { token: anna.token, body: { name: 'Home' } });
    const { id } = opened.body;
    const path = `/v1/family-accounts/${id}`;
    expect([opened.status, opened.headers.get('location')]).toEqual([201, path]);
    const annas = { memberId: anna.id, role: 'OWNER', joinedAt: expect.stringMatching(/Z$/) };
    expect(opened.body).toEqual({ id, name: 'Home', status: 'OPEN', members: [annas] });

    const invited = await call('POST', `${path}/invitations`, { token: anna.token });
    expect(invited).toMatchObject({ status: 201, body: { expiresAt: expect.stringMatching(/Z$/) } });
    const acceptance = `/v1/invitations/${invited.body.code}/acceptance`;
    const accepted = await call('POST', acceptance, { token: ben.token });
    const bens = { memberId: ben.id, role: 'MEMBER', joinedAt: expect.any(String) };
    expect(accepted).toMatchObject({ status: 200, body: { id, members: [annas, bens] } });
    expect(await call('POST', acceptance, { token: ben.token })).toMatchObject({ status: 200, body: accepted.body });
    expect(await call('POST', acceptance, { token: api.createMember().token })).toMatchObject(
      problem('invitation-used', 410),
    );
    expect((await call('GET', path, { token: ben.token })).body).toEqual(accepted.body);
    expect((await call('GET', '/v1/family-accounts', { token: ben.token })).body).toEqual({
      familyAccounts: [accepted.body],
    });

    const handedOver = await call('PUT', `${path}/owner`, { token: anna.token, body: { memberId: ben.id } });
    expect(handedOver).toMatchObject({
      status: 200,
      body: {
        members: [
          { memberId: anna.id, role: 'MEMBER' },
          { memberId: ben.id, role: 'OWNER' },
        ],
      },
    });
    const removal = `${path}/members/${anna.id}`;
    expect(await call('DELETE', removal, { token: ben.token })).toMatchObject({ status: 204, body: undefined });
    expect(await call('DELETE', removal, { token: ben.token })).toMatchObject(problem('membership-not-found', 404));
    expect((await call('DELETE', `${path}/members/${ben.id}`, { token: ben.token })).status).toBe(204);
    expect(await call('GET', path, { token: ben.token })).toMatchObject(problem('family-account-not-found', 404));
    expect((await call('GET', path, { token: OPERATOR })).body).toEqual({ id, status: 'CLOSED', members: [] });
  });

  test('has its events listed for operators', async () => {
    const { id, anna } = await home();
    const { status, body } = await call('GET', `/v1/events?aggregateId=${id}`, { token: OPERATOR });
    expect(status).toBe(200);
    expect(body.events).toMatchObject([
      { type: 'family-account.opened', requestedBy: `member:${anna.id}`, attributes: ['name', 'ownerId', 'status'] },
      { type: 'family-account.member-joined' },
      { type: 'family-account.invitation-issued' },
      { type: 'family-account.member-joined' },
    ]);
    expect(await call('GET', `/v1/events?aggregateId=${id}`, { token: anna.token })).toMatchObject(
      problem('no-such-route', 404),
    );
  });

  test('cannot be opened by an unverified member', async () => {
    const { token, id } = api.createMember();
    api.system.member.standings.set(id, 'NOT_VERIFIED');
    const answer = await call('POST', '/v1/family-accounts', { token, body: { name: 'Home' } });
    expect(answer).toMatchObject(problem('identity-not-verified', 403));
    expect((await call('GET', '/v1/family-accounts', { token })).body).toEqual({ familyAccounts: [] });
  });

  test('cannot be opened by a member of another one', async () => {
    const { ben } = await home();
    const answer = await call('POST', '/v1/family-accounts', { token: ben.token, body: { name: 'Another' } });
    expect(answer).toMatchObject(problem('already-in-family-account', 409));
  });
});

describe('A family account’s resources', () => {
  const memberId = '0198d7a2-0000-7000-8000-000000000001';
  // All rows have the same length: Jest would pass its callback for a missing last argument.
  const routes: [method: string, path: string, body: object | undefined][] = [
    ['GET', '', undefined],
    ['POST', '/invitations', undefined],
    ['PUT', '/owner', { memberId }],
    ['DELETE', `/members/${memberId}`, undefined],
  ];

  test.each(routes)('answer other members 404, as for an unknown id: %s %s', async (method, path, body) => {
    const [{ id }, outsider] = [await home(), api.createMember()];
    const answers = [];
    for (const account of [id, uuid()])
      answers.push(await call(method, `/v1/family-accounts/${account}${path}`, { token: outsider.token, body }));
    for (const answer of answers) expect(answer).toMatchObject(problem('family-account-not-found', 404));
    const [existing, unknown] = answers.map(({ body: { instance: _, ...rest } }) => rest);
    expect(existing).toEqual(unknown);
  });

  test.each(routes)('require a token: %s %s', async (method, path, body) => {
    for (const token of [undefined, 'an-unknown-token']) {
      const answer = await call(method, `/v1/family-accounts/${uuid()}${path}`, { token, body });
      expect(answer).toMatchObject(problem('unauthenticated', 401));
    }
  });

  test.each(routes.slice(1))('cannot be changed by operators: %s %s', async (method, path, body) => {
    const url = `/v1/family-accounts/${uuid()}${path}`;
    expect(await call(method, url, { token: OPERATOR, body })).toMatchObject(problem('no-such-route', 404));
    const elsewhere = await call(method, url, { token: OPERATOR, body, at: 'public' });
    expect(elsewhere).toMatchObject(problem('unauthenticated', 401));
  });

  test('can be changed by the owner only', async () => {
    const { path, anna, ben } = await home();
    const { token } = ben;
    expect(await call('POST', `${path}/invitations`, { token })).toMatchObject(problem('owner-only', 403));
    expect(await call('DELETE', `${path}/members/${anna.id}`, { token })).toMatchObject(problem('owner-only', 403));
    const transfer = await call('PUT', `${path}/owner`, { token, body: { memberId: ben.id } });
    expect(transfer).toMatchObject(problem('owner-only', 403));
  });

  test('cannot be transferred to a person who is not a member', async () => {
    const { path, anna } = await home();
    const transfer = await call('PUT', `${path}/owner`, { token: anna.token, body: { memberId: uuid() } });
    expect(transfer).toMatchObject(problem('not-a-member', 422));
  });
});

describe('An unreachable member system', () => {
  const fail = () => {
    throw new DependencyUnavailable('member-api-unavailable', 'unreachable');
  };

  test('lets members with a cached session read, but no one open an account', async () => {
    const { path, anna, ben } = await home();
    for (const { token } of [anna, ben]) await call('GET', path, { token });
    api.system.member.beforeAnswer = fail;
    expect((await call('GET', path, { token: anna.token })).status).toBe(200);
    const unknown = await call('GET', path, { token: api.createMember().token });
    expect(unknown).toMatchObject(problem('member-api-unavailable', 503));
    expect(unknown.headers.get('retry-after')).toBe('5');
    const open = await call('POST', '/v1/family-accounts', { token: ben.token, body: { name: 'Another' } });
    expect(open).toMatchObject(problem('member-api-unavailable', 503));
  });

  test('does not affect operators', async () => {
    const { path } = await home();
    api.system.member.beforeAnswer = fail;
    expect((await call('GET', path, { token: OPERATOR })).status).toBe(200);
  });
});
