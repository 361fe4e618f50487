import { v7 as uuid } from 'uuid';
import { CANARY_ID } from '#eventing/canary';
import { DependencyUnavailable } from '#service/errors';
import { type FamilyAccountApi, OPERATOR, problem, SIDECAR, startFamilyAccountApi } from './api.ts';

let api: FamilyAccountApi;
let call: FamilyAccountApi['call'];
beforeAll(async () => {
  api = await startFamilyAccountApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.system.member.whenAsked = () => undefined;
});

/** Anna’s family account, with Ben in it. */
async function home() {
  const [anna, ben] = [api.somebody(), api.somebody()];
  const { body: account } = await call('POST', '/v1/family-accounts', { token: anna.token, body: { name: 'Home' } });
  const path = `/v1/family-accounts/${account.id}`;
  const { body: invitation } = await call('POST', `${path}/invitations`, { token: anna.token });
  await call('POST', `/v1/invitations/${invitation.code}/acceptance`, { token: ben.token });
  return { anna, ben, id: account.id as string, path };
}

test('with an Idempotency-Key an account is opened once, an invitation made once, and joined once, however often it is asked', async () => {
  const [anna, ben] = [api.somebody(), api.somebody()];
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
  const path = `/v1/family-accounts/${opened.body.id}`;
  const invited = await twice(`${path}/invitations`, anna.token);
  const joined = await twice(`/v1/invitations/${invited.body.code}/acceptance`, ben.token);
  expect([opened.status, invited.status, joined.status]).toEqual([201, 201, 200]);
  expect((await call('GET', path, { token: anna.token })).body.members).toHaveLength(2);
});

describe('The way of a family', () => {
  test('is opened, joined, handed over, left and closed', async () => {
    const [anna, ben] = [api.somebody(), api.somebody()];
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
    expect(await call('POST', acceptance, { token: api.somebody().token })).toMatchObject(
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

  test('is told to operators, fact by fact', async () => {
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
      problem('forbidden', 403),
    );
  });

  test('ends for who is verified no more, and begins for nobody who is not', async () => {
    const { token, id } = api.somebody();
    api.system.member.standings.set(id, 'NOT_VERIFIED');
    const answer = await call('POST', '/v1/family-accounts', { token, body: { name: 'Home' } });
    expect(answer).toMatchObject(problem('identity-not-verified', 403));
    expect((await call('GET', '/v1/family-accounts', { token })).body).toEqual({ familyAccounts: [] });
  });

  test('is one at a time', async () => {
    const { ben } = await home();
    const answer = await call('POST', '/v1/family-accounts', { token: ben.token, body: { name: 'Another' } });
    expect(answer).toMatchObject(problem('already-in-family-account', 409));
  });
});

describe('What belongs to a family', () => {
  const memberId = '0198d7a2-0000-7000-8000-000000000001';
  // Each as long as the others: Jest takes a missing last one for its callback.
  const routes: [method: string, path: string, body: object | undefined][] = [
    ['GET', '', undefined],
    ['POST', '/invitations', undefined],
    ['PUT', '/owner', { memberId }],
    ['DELETE', `/members/${memberId}`, undefined],
  ];

  test.each(routes)('is closed to others, and alike where there is none: %s %s', async (method, path, body) => {
    const [{ id }, stranger] = [await home(), api.somebody()];
    const answers = [];
    for (const account of [id, uuid()])
      answers.push(await call(method, `/v1/family-accounts/${account}${path}`, { token: stranger.token, body }));
    for (const answer of answers) expect(answer).toMatchObject(problem('family-account-not-found', 404));
    const [real, nothing] = answers.map(({ body: { instance: _, ...rest } }) => rest);
    expect(real).toEqual(nothing);
  });

  test.each(routes)('needs a token: %s %s', async (method, path, body) => {
    for (const token of [undefined, 'nobody-has-this-token']) {
      const answer = await call(method, `/v1/family-accounts/${uuid()}${path}`, { token, body });
      expect(answer).toMatchObject(problem('unauthenticated', 401));
    }
  });

  test.each(routes.slice(1))('is not the operators’ to change: %s %s', async (method, path, body) => {
    const answer = await call(method, `/v1/family-accounts/${uuid()}${path}`, { token: OPERATOR, body });
    expect(answer).toMatchObject(problem('forbidden', 403));
  });

  test('is the owner’s to change', async () => {
    const { path, anna, ben } = await home();
    const { token } = ben;
    expect(await call('POST', `${path}/invitations`, { token })).toMatchObject(problem('owner-only', 403));
    expect(await call('DELETE', `${path}/members/${anna.id}`, { token })).toMatchObject(problem('owner-only', 403));
    const transfer = await call('PUT', `${path}/owner`, { token, body: { memberId: ben.id } });
    expect(transfer).toMatchObject(problem('owner-only', 403));
  });

  test('is not given to strangers', async () => {
    const { path, anna } = await home();
    const transfer = await call('PUT', `${path}/owner`, { token: anna.token, body: { memberId: uuid() } });
    expect(transfer).toMatchObject(problem('not-a-member', 422));
  });
});

describe('While the member system cannot be asked', () => {
  const away = () => {
    throw new DependencyUnavailable('member-api-unavailable', 'away');
  };

  test('who is remembered can still look, and nobody can join', async () => {
    const { path, anna, ben } = await home();
    for (const { token } of [anna, ben]) await call('GET', path, { token });
    api.system.member.whenAsked = away;
    expect((await call('GET', path, { token: anna.token })).status).toBe(200);
    const unknown = await call('GET', path, { token: api.somebody().token });
    expect(unknown).toMatchObject(problem('member-api-unavailable', 503));
    expect(unknown.headers.get('retry-after')).toBe('5');
    const open = await call('POST', '/v1/family-accounts', { token: ben.token, body: { name: 'Another' } });
    expect(open).toMatchObject(problem('member-api-unavailable', 503));
  });

  test('operators are let in', async () => {
    const { path } = await home();
    api.system.member.whenAsked = away;
    expect((await call('GET', path, { token: OPERATOR })).status).toBe(200);
  });
});

describe('A canary', () => {
  const follow = (system: string, id: string) => call('GET', `/v1/canaries/${system}/${id}`, { token: OPERATOR });
  const send = (system: string) => call('POST', `/v1/canaries/${system}`, { token: OPERATOR });

  test('of its own starts with a row, and waits for the relay', async () => {
    const { status, body } = await send('family-account');
    expect(status).toBe(201);
    const { body: way } = await follow('family-account', body.id);
    expect(way.hops.map(({ name }: { name: string }) => name)).toEqual([
      'row',
      'relay to family-account-internal',
      'topic family-account-internal',
      'recorder of family-account-internal',
      'external-broadcaster',
      'relay to family-account-external',
      'recorder of family-account-external',
    ]);
    expect(way.hops[0]).toMatchObject({ at: expect.any(String), trouble: null });
    expect(way.hops[1]).toMatchObject({ at: null, trouble: expect.any(String) });
    // These wait for that one only.
    for (const hop of way.hops.slice(2)) expect(hop).toMatchObject({ at: null, trouble: null });
  });

  test('of the member system’s has come once it is heard here', async () => {
    const { body } = await send('member');
    const last = async () => (await follow('member', body.id)).body.hops.at(-1);
    expect(await last()).toMatchObject({
      name: 'family-account',
      at: null,
      trouble: expect.stringMatching(/not heard/),
    });
    const event = {
      ...{ specversion: '1.0', id: uuid(), eventid: body.id, source: '/member', type: 'member.canary-sent' },
      ...{ subject: CANARY_ID, time: new Date().toISOString(), sequence: '0000000001', target: 'ALL' },
      ...{ datacontenttype: 'application/json', partitionkey: CANARY_ID },
      data: {
        memberId: CANARY_ID,
        eventType: 'member.canary-sent',
        attributeTypes: [],
        occurredAt: new Date().toISOString(),
      },
    };
    const delivered = await call('POST', '/events/member-external', { sidecar: SIDECAR, body: event });
    expect(delivered.status).toBe(200);
    expect(await last()).toMatchObject({ name: 'family-account', at: expect.any(String), trouble: null });
  });

  test('cannot be had of the member system while that is away', async () => {
    api.system.member.whenAsked = () => {
      throw new DependencyUnavailable('member-api-unavailable', 'away');
    };
    expect(await send('member')).toMatchObject(problem('member-api-unavailable', 503));
  });

  test('that nobody sent has no way, and a system that nobody knows has no canaries', async () => {
    for (const system of ['family-account', 'member'])
      expect(await follow(system, uuid())).toMatchObject(problem('canary-not-found', 404));
    expect(await send('nobody')).toMatchObject(problem('invalid-request', 400));
  });
});

describe('A bad request is answered with what is wrong with it, and never with a 5xx', () => {
  test.each<[body: unknown]>([
    [{}],
    [{ name: '' }],
    [{ name: ' ' }],
    [{ name: 'x'.repeat(101) }],
    [{ name: 'nul \u0000' }],
    [{ name: 'half a pair \ud800' }],
    [{ name: 7 }],
    [{ name: 'Home', members: [] }],
    ['{'],
    ['null'],
  ])('POST /v1/family-accounts %j', async (body) => {
    const { status, body: answer } = await call('POST', '/v1/family-accounts', { token: api.somebody().token, body });
    expect([status, answer.slug]).toEqual([400, expect.stringMatching(/^(invalid-request|malformed-body)$/)]);
  });

  test.each([
    ['GET', '/v1/family-accounts/42'],
    ['GET', '/v1/family-accounts/%00'],
    ['GET', '/v1/family-accounts?limit=1'],
    ['POST', '/v1/invitations/short/acceptance'],
    ['POST', `/v1/invitations/${'%00'.repeat(32)}/acceptance`],
    ['DELETE', '/v1/family-accounts/0198d7a2-0000-7000-8000-000000000001/members/42'],
  ])('%s %s', async (method, path) => {
    expect((await call(method, path, { token: api.somebody().token })).status).toBe(400);
  });

  test('a code that nobody issued', async () => {
    const answer = await call('POST', `/v1/invitations/${'x'.repeat(32)}/acceptance`, { token: api.somebody().token });
    expect(answer).toMatchObject(problem('invitation-not-found', 404));
  });
});
