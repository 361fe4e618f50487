import { v7 as uuid } from 'uuid';
import { aPerson, PASSWORD } from '../support.ts';
import { type MemberApi, OPERATOR, problem, READER, startMemberApi } from './api.ts';

let api: MemberApi;
let call: MemberApi['call'];
beforeAll(async () => {
  api = await startMemberApi();
  call = api.call;
});
afterAll(() => api[Symbol.asyncDispose]());

const device = { id: 'a phone', name: 'Anna’s phone', os: 'Android 16' };

describe('A member', () => {
  test('registers, logs in, verifies its identity, changes its profile and withdraws', async () => {
    const person = aPerson();
    const registered = await call('POST', '/v1/members', { body: { ...person, password: PASSWORD } });
    expect(registered).toMatchObject({
      status: 201,
      body: { ...person, status: 'ACTIVE', identityVerification: { status: 'NONE' } },
    });
    const { id } = registered.body;
    const path = `/v1/members/${id}`;
    expect(registered.headers.get('location')).toBe(path);
    expect(JSON.stringify(registered.body)).not.toMatch(/assword|hash|version/i);

    const loggedIn = await call('POST', '/v1/sessions', { body: { email: person.email, password: PASSWORD, device } });
    expect(loggedIn).toMatchObject({ status: 201, body: { memberId: id, number: expect.any(Number), device } });
    const { token } = loggedIn.body;
    expect(token).toMatch(/^[\w-]{43}$/);

    const verification = await call('PUT', `${path}/identity-verification`, {
      token,
      body: { identityVerificationId: `ok-${id}` },
    });
    expect(verification).toMatchObject({ status: 200, body: { status: 'VERIFIED', verifiedAt: expect.any(String) } });
    const renamed = await call('PATCH', path, { token, body: { name: '안나 Anna 👩‍💻' } });
    expect(renamed).toMatchObject({ status: 200, body: { name: '안나 Anna 👩‍💻', email: person.email } });
    expect(await call('GET', path, { token })).toMatchObject({ status: 200, body: { ...renamed.body } });

    const released = await call('DELETE', `${path}/identity-verification`, { token, body: { reason: 'a mistake' } });
    expect(released.status).toBe(204);
    expect((await call('DELETE', path, { token })).status).toBe(204);
    expect(await call('GET', path, { token })).toMatchObject(problem('unauthenticated', 401));
    for (const credential of [OPERATOR, READER]) {
      const { status, body } = await call('GET', path, { token: credential });
      expect({ status, body }).toEqual({ status: 200, body: { id, status: 'WITHDRAWN' } });
    }
  });

  test('lists and ends its sessions, and an ended session is rejected at once', async () => {
    const { token, number, email, id } = await api.createMember();
    const { body: other } = await call('POST', '/v1/sessions', { body: { email, password: PASSWORD, device } });
    const current = await call('GET', '/v1/sessions/current', { token });
    expect(current).toMatchObject({ status: 200, body: { memberId: id, number } });
    expect((await call('DELETE', `/v1/sessions/${other.number}`, { token })).status).toBe(204);
    expect((await call('GET', '/v1/sessions/current', { token: other.token })).status).toBe(401);
    const { body } = await call('GET', '/v1/sessions?limit=1', { token });
    expect(body.sessions).toMatchObject([{ number: other.number, logoutReason: 'SELF' }]);
    const { body: rest } = await call('GET', `/v1/sessions?before=${body.next}`, { token });
    expect(rest).toEqual({ sessions: [expect.objectContaining({ number })] });
    expect((await call('DELETE', '/v1/sessions/current', { token })).status).toBe(204);
    expect((await call('GET', '/v1/sessions', { token })).status).toBe(401);
  });

  test('changes its password only with the current password', async () => {
    const { id, token } = await api.createMember();
    const change = (currentPassword: string) =>
      call('PUT', `/v1/members/${id}/password`, { token, body: { currentPassword, newPassword: 'a new password' } });
    expect(await change('not this one')).toMatchObject(problem('wrong-password', 422));
    expect((await change(PASSWORD)).status).toBe(204);
  });

  test('logs in with its Hangul password in another Unicode normalization form', async () => {
    const person = aPerson();
    const password = '비밀번호는비밀';
    await call('POST', '/v1/members', { body: { ...person, password: `${password}!`.normalize('NFD') } });
    const { status } = await call('POST', '/v1/sessions', {
      body: { email: person.email.toUpperCase(), password: `${password}!`, device },
    });
    expect(status).toBe(201);
  });
});

describe('Logging in', () => {
  test('fails with the same problem for an unknown address and a wrong password', async () => {
    const { email } = await api.createMember();
    const [wrong, unknown] = await Promise.all(
      [email, 'nobody@example.com'].map((address) =>
        call('POST', '/v1/sessions', { body: { email: address, password: 'a wrong one', device } }),
      ),
    );
    expect(wrong).toMatchObject(problem('invalid-credentials', 401));
    const { instance: _, ...expected } = wrong!.body;
    expect(unknown!.body).toMatchObject(expected);
  });
});

test('A member’s events are listed for operators only', async () => {
  const { id, token } = await api.createMember();
  const { body } = await call('GET', `/v1/events?aggregateId=${id}`, { token: OPERATOR });
  expect(body.events).toMatchObject([
    { type: 'member.registered', sequence: 1, requestedBy: 'anyone', attributes: ['email', 'name'] },
    { type: 'member.logged-in', sequence: 2 },
  ]);
  for (const other of [token, READER]) {
    const path = `/v1/events?aggregateId=${id}`;
    expect(await call('GET', path, { token: other })).toMatchObject(problem('no-such-route', 404));
    expect(await call('GET', path, { token: other, at: 'operations' })).toMatchObject(problem('unauthenticated', 401));
  }
});

test('Each rejected request names its reason as a problem slug', async () => {
  const [anna, ben] = [await api.createMember(), await api.createMember()];
  const body = { email: anna.email.toUpperCase(), name: 'Anna', password: PASSWORD };
  expect(await call('POST', '/v1/members', { body })).toMatchObject(problem('email-taken', 409));
  const verify = (member: typeof anna, identityVerificationId: string) =>
    call('PUT', `/v1/members/${member.id}/identity-verification`, {
      token: member.token,
      body: { identityVerificationId },
    });
  expect((await verify(anna, 'ok-x')).status).toBe(200);
  expect(await verify(anna, 'ok-y')).toMatchObject(problem('already-verified', 409));
  expect(await verify(ben, 'ok-x')).toMatchObject(problem('identity-taken', 409));
  expect(await verify(ben, 'unknown')).toMatchObject(problem('identity-verification-unknown', 422));
  expect(await call('GET', `/v1/members/${uuid()}`, { token: READER })).toMatchObject(problem('member-not-found', 404));
  expect(await call('DELETE', '/v1/sessions/999999', { token: ben.token })).toMatchObject(
    problem('session-not-found', 404),
  );
});

test('A canary has a trace of seven hops and creates no member', async () => {
  const { status, body } = await call('POST', '/v1/canaries/member', { token: READER });
  expect(status).toBe(201);
  const { body: trace } = await call('GET', `/v1/canaries/member/${body.id}`, { token: READER });
  expect(trace.hops).toHaveLength(7);
  expect(trace.hops[0]).toMatchObject({ name: 'row', at: expect.any(String) });
  const { body: event } = await call('GET', `/v1/events/${body.id}`, { token: OPERATOR });
  expect(event).toMatchObject({
    type: 'member.canary-sent',
    attributes: [],
    requestedBy: expect.stringMatching(/^reader:/),
  });
  expect(await call('GET', `/v1/members/${event.aggregateId}`, { token: READER })).toMatchObject(
    problem('member-not-found', 404),
  );
});

test('The log holds no e-mail address, name, password, token or device', async () => {
  const person = aPerson();
  await call('POST', '/v1/members', { body: { ...person, password: PASSWORD } });
  await call('POST', '/v1/members', { body: { ...person, password: PASSWORD } });
  const { body } = await call('POST', '/v1/sessions', { body: { email: person.email, password: PASSWORD, device } });
  await call('GET', `/v1/members/${uuid()}?email=${person.email}`, { token: body.token });
  const log = api.log();
  expect(log).toContain('"route":"/v1/sessions"');
  for (const secret of [person.email, person.name, PASSWORD, body.token, device.name])
    expect(log).not.toContain(secret);
});

test('The OpenAPI document of each listener describes its routes', async () => {
  const { body } = await call('GET', '/openapi.json');
  const { body: operations } = await call('GET', '/openapi.json', { at: 'operations' });
  expect(body.openapi).toMatch(/^3\.1\./);
  expect(Object.keys(body.paths)).toEqual(
    expect.arrayContaining(['/v1/members', '/v1/members/{id}', '/v1/sessions', '/v1/sessions/current']),
  );
  expect(Object.keys(operations.paths)).toEqual(expect.arrayContaining(['/v1/members/{id}', '/v1/events/{id}']));
});
