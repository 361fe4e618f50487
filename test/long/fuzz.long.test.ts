import { randomUUID } from 'node:crypto';
import { Api } from '../../local/demo/api.ts';
import type { Running } from '../../local/supervisor/running.ts';
import { publishRaw } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { python } from '../support/python.ts';
import { startStack, type TestStack } from '../support/stack.ts';
import { type Caller, fuzz } from './schemathesis.ts';

let stack: TestStack;
let running: Running;
beforeAll(async () => {
  // Installs it, so that no test has to wait for that.
  await python('schemathesis');
  stack = await startStack();
  running = await stack.running();
}, 400_000);
afterAll(() => stack?.[Symbol.asyncDispose](), 60_000);

const member = (token?: string) => new Api(running.memberUrl, token);
const families = (token?: string) => new Api(running.familyAccountUrl, token);
const operator = () => new Api(running.memberOperationsUrl, running.memberOperatorToken);

interface Scenario extends Caller {
  /** Operations that have to succeed at least once, so that not only rejections are tested. */
  readonly mustSucceed: readonly string[];
}

interface Person {
  readonly id: string;
  readonly email: string;
  readonly password: string;
  readonly token: string;
}

async function createMember(): Promise<Person> {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID() };
  const { id } = await member().post('/v1/members', { ...person, name: 'Anna' });
  return { id, ...person, token: await logIn(person) };
}

async function logIn({ email, password }: Pick<Person, 'email' | 'password'>): Promise<string> {
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  return (await member().post('/v1/sessions', { email, password, device })).token;
}

async function createVerifiedMember(): Promise<Person> {
  const person = await createMember();
  const verification = { identityVerificationId: `ok-${randomUUID()}` };
  await member(person.token).put(`/v1/members/${person.id}/identity-verification`, verification);
  return person;
}

/** Opens a family account with a second member and two unused invitation codes. */
async function createFamily() {
  const [owner, second] = [await createVerifiedMember(), await createVerifiedMember()];
  const account = await families(owner.token).post('/v1/family-accounts', { name: 'Home' });
  const invite = async () => (await families(owner.token).post(`/v1/family-accounts/${account.id}/invitations`)).code;
  await families(second.token).post(`/v1/invitations/${await invite()}/acceptance`);
  return { id: account.id as string, owner, second, codes: [await invite(), await invite()] };
}

const eventsOf = async (api: Api, id: string): Promise<string[]> =>
  (await api.get(`/v1/events?aggregateId=${id}`)).events.map((event: { id: string }) => event.id);

async function asOperator(): Promise<Scenario> {
  const members = await Promise.all(Array.from({ length: 8 }, createMember));
  const ids = members.map(({ id }) => id);
  // The operator withdraws some of the others.
  const staying = await createMember();
  const consumer = 'publish-recorder:body';
  for (let i = 0; i < 10; i++) {
    const foreign = { specversion: '1.0', id: randomUUID(), source: '/foreign', type: 'x', data: 'no event' };
    await publishRaw(running.brokerUrl, 'member-internal', JSON.stringify(foreign));
  }
  const dead = await eventually(async () => {
    const { deliveries } = await operator().get('/v1/dead-letters');
    const mine = deliveries.filter((each: { consumer: string }) => each.consumer === consumer);
    return mine.length >= 10 && mine.map(({ eventId }: { eventId: string }) => eventId);
  });
  const delivery = { 'path.consumer': [consumer], 'path.eventId': dead };
  return {
    token: running.memberOperatorToken,
    known: {
      '/v1/members/{id}': { 'path.id': ids },
      '/v1/members/{id}/login-records': { 'path.id': ids },
      '/v1/members/{id}/identity-verification': { 'path.id': [...ids, staying.id] },
      '/v1/events': { 'query.aggregateId': ids },
      '/v1/events/{id}': { 'path.id': (await Promise.all(ids.map((id) => eventsOf(operator(), id)))).flat() },
      '/v1/topics/{topic}/published-events': { 'query.after': ['0_00000000-0000-0000-0000-000000000000'] },
      '/v1/topics/{topic}/republish': { 'body.target': ['other-device-logout'] },
      '/v1/dead-letters/{consumer}/{eventId}': delivery,
      '/v1/dead-letters/{consumer}/{eventId}/redrive': delivery,
      '/v1/dead-letters/{consumer}/{eventId}/discard': delivery,
      '/v1/gaps/skip': {
        'body.aggregateId': ids,
        'body.consumer': ['other-device-logout'],
        'body.source': ['/member'],
      },
    },
    mustSucceed: [
      'GET /v1/members/{id}',
      'DELETE /v1/members/{id}',
      'GET /v1/members/{id}/login-records',
      'DELETE /v1/members/{id}/identity-verification',
      'GET /v1/events',
      'GET /v1/events/{id}',
      'GET /v1/event-heads',
      'GET /v1/dead-letters',
      'GET /v1/gaps',
      'GET /v1/missing-events',
      'GET /v1/parked-messages',
      'GET /v1/topics/{topic}/latest-event',
      'GET /v1/topics/{topic}/published-events',
      'POST /v1/topics/{topic}/republish',
      'GET /v1/dead-letters/{consumer}/{eventId}',
      'POST /v1/dead-letters/{consumer}/{eventId}/discard',
    ],
  };
}

async function asMember(): Promise<Scenario> {
  const self = await createMember();
  const other = await createMember();
  const id = { 'path.id': [self.id, self.id, self.id, other.id] };
  return {
    token: self.token,
    known: {
      '/v1/members/{id}': { ...id, 'body.email': [self.email, other.email] },
      '/v1/members/{id}/login-records': id,
      '/v1/members/{id}/password': { ...id, 'body.currentPassword': [self.password] },
      '/v1/members/{id}/identity-verification': {
        ...id,
        'body.identityVerificationId': [`ok-${randomUUID()}`, `ok-${randomUUID()}`, `no-${randomUUID()}`, 'unknown'],
      },
    },
    excluded: [
      'DELETE /v1/members/{id}',
      'DELETE /v1/sessions/current',
      'DELETE /v1/sessions/{number}',
      // A generated login of another member on the same device would log this one out.
      'POST /v1/sessions',
    ],
    mustSucceed: [
      'GET /v1/members/{id}',
      'PATCH /v1/members/{id}',
      'GET /v1/members/{id}/login-records',
      'PUT /v1/members/{id}/identity-verification',
      'DELETE /v1/members/{id}/identity-verification',
      'POST /v1/members',
      'GET /v1/sessions',
      'GET /v1/sessions/current',
    ],
  };
}

async function asFamilyMember(): Promise<Scenario> {
  const [own, another] = [await createFamily(), await createFamily()];
  const id = { 'path.id': [own.id, own.id, own.id, another.id] };
  return {
    token: own.owner.token,
    known: {
      '/v1/family-accounts/{id}': id,
      '/v1/family-accounts/{id}/owner': { ...id, 'body.memberId': [own.owner.id, another.owner.id] },
      '/v1/family-accounts/{id}/members/{memberId}': { ...id, 'path.memberId': [own.second.id, another.owner.id] },
      '/v1/family-accounts/{id}/invitations': id,
      '/v1/invitations/{code}/acceptance': { 'path.code': [...own.codes, ...another.codes] },
    },
    mustSucceed: [
      'GET /v1/family-accounts',
      'GET /v1/family-accounts/{id}',
      'POST /v1/family-accounts/{id}/invitations',
    ],
  };
}

async function asFamilyOperator(): Promise<Scenario> {
  const { id } = await createFamily();
  const api = new Api(running.familyAccountOperationsUrl, running.familyAccountOperatorToken);
  return {
    token: running.familyAccountOperatorToken,
    known: {
      '/v1/family-accounts/{id}': { 'path.id': [id] },
      '/v1/events': { 'query.aggregateId': [id] },
      '/v1/events/{id}': { 'path.id': await eventsOf(api, id) },
      '/v1/topics/{topic}/latest-event': { 'path.topic': ['family-account-external'] },
    },
    mustSucceed: [
      'GET /v1/family-accounts/{id}',
      'GET /v1/events',
      'GET /v1/events/{id}',
      'GET /v1/topics/{topic}/latest-event',
    ],
  };
}

async function asAnonymous(...mustSucceed: string[]): Promise<Scenario> {
  const [person, { id, codes }] = [await createMember(), await createFamily()];
  return {
    known: {
      '/v1/members/{id}': { 'path.id': [person.id] },
      '/v1/sessions': { 'body.email': [person.email], 'body.password': [person.password] },
      '/v1/family-accounts/{id}': { 'path.id': [id] },
      '/v1/invitations/{code}/acceptance': { 'path.code': codes },
    },
    mustSucceed,
  };
}

const OPEN_TO_ALL = ['POST /v1/members', 'POST /v1/sessions'];

test.each<[caller: string, api: 'member' | 'familyAccount', prepare: () => Promise<Scenario>]>([
  ['an operator', 'member', asOperator],
  ['an operator', 'familyAccount', asFamilyOperator],
  ['a member', 'member', asMember],
  ['a member', 'familyAccount', asFamilyMember],
  ['an anonymous caller', 'member', () => asAnonymous(...OPEN_TO_ALL)],
  ['an anonymous caller', 'familyAccount', () => asAnonymous()],
])(
  '%s fuzzing the %s API gets described answers in time, no 5xx',
  async (caller, api, prepare) => {
    const { mustSucceed, ...scenario } = await prepare();
    const { code, output, answered } = await fuzz(
      running[`${api}${caller === 'an operator' ? 'Operations' : ''}Url` as const],
      scenario,
    );
    expect({ code, output }).toEqual({ code: 0, output: expect.stringContaining('No issues found') });
    const succeeded = [...answered]
      .filter(([name, statuses]) => !name.startsWith('OPTIONS ') && [...statuses].some((status) => status < 300))
      .map(([name]) => name);
    expect(succeeded).toEqual(expect.arrayContaining([...mustSucceed]));
    if (caller === 'an anonymous caller') expect(succeeded.filter((name) => !OPEN_TO_ALL.includes(name))).toEqual([]);
  },
  900_000,
);
