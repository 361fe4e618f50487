import { randomUUID } from 'node:crypto';
import { Client } from 'pg';
import { Api, ApiError } from '../../local/api.ts';
import type { Running } from '../../local/running.ts';
import { eventually } from '../support/eventually.ts';
import { startStackWith, type TestStack } from '../support/stack.ts';
import { messagesOf, publishRaw, takeRepeats, unacknowledged } from './broker.ts';
import { closeGate } from './gate.ts';
import { deliveries, invariants } from './invariants.ts';

let stack: TestStack;
let running: Running;
let database: Client;
let superuserUrl: string;
beforeAll(async () => {
  stack = await startStackWith({ env: { RESEND_AFTER_SECONDS: '5' } });
  running = await stack.running();
  superuserUrl = Object.assign(new URL(running.databases.superuser), { pathname: '/member' }).href;
  await connectToDatabase();
}, 130_000);
afterAll(async () => {
  await database?.end().catch(() => undefined);
  await stack?.[Symbol.asyncDispose]();
}, 60_000);

// What a test has killed is back before the next one begins.
beforeEach(() =>
  eventually(
    async () => {
      for (const [name, { state }] of Object.entries((await stack.running()).processes))
        expect([name, state]).toEqual([name, 'running']);
    },
    { timeoutMs: 30_000 },
  ),
);

async function connectToDatabase(): Promise<void> {
  database = new Client({ connectionString: superuserUrl });
  database.on('error', () => undefined);
  await database.connect();
}

const act = async (verb: 'kill' | 'stop' | 'cont' | 'restart', name: string) =>
  expect(await stack.script('stack.ts', verb, name)).toMatchObject({ code: 0 });
const count = async (table: string, condition: string, ...params: unknown[]): Promise<number> =>
  (await database.query(`select count(*)::int as n from ${table} where ${condition}`, params)).rows[0].n;
const operator = () => new Api(running.memberUrl, running.memberOperatorToken);

interface Person {
  readonly id: string;
  readonly email: string;
  readonly password: string;
}

async function register(): Promise<Person> {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' };
  const { id } = await new Api(running.memberUrl).post('/v1/members', person);
  return { ...person, id };
}

const logIn = ({ email, password }: Person, deviceId: string = randomUUID()) =>
  new Api(running.memberUrl).post('/v1/sessions', {
    email,
    password,
    device: { id: deviceId, name: 'phone', os: 'any' },
  });

/** Everything arrives, what was in somebody's hands a second time included, and no attempt was spent. */
async function allIsWell(): Promise<void> {
  await eventually(async () => expect(await unacknowledged(running.brokerUrl)).toBe(0), { timeoutMs: 40_000 });
  await invariants(await stack.running());
  expect(await deliveries(running)).toEqual({ attempts: 0, waiting: 0 });
}

test('an API that is killed after the flush and before the commit leaves neither member nor event, and can be asked again', async () => {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Nobody yet' };
  const facts = await count('eventing.event_store', 'true');
  await using gate = await closeGate(superuserUrl, { table: 'public.member', at: 'commit' });
  const asked = new Api(running.memberUrl).post('/v1/members', person).catch((error: Error) => error);
  await gate.reached();
  await act('kill', 'member');
  await gate.turnAway();
  expect(await asked).toMatchObject({ message: 'fetch failed' });
  await gate.open();
  expect(await count('member', 'email = $1', person.email)).toBe(0);
  expect(await count('eventing.event_store', 'true')).toBe(facts);
  await eventually(() => new Api(running.memberUrl).post('/v1/members', person));
  expect(await count('member', 'email = $1', person.email)).toBe(1);
  await allIsWell();
}, 60_000);

test('a relay that is killed between publishing and noting it publishes again, it comes twice, and each effect is there once', async () => {
  const person = await register();
  await allIsWell();
  await takeRepeats(running.brokerUrl, 'member-internal');
  // The recorder would take what is back already out of the outbox itself.
  await act('stop', 'publish-recorder');
  await using gate = await closeGate(superuserUrl, { table: 'eventing.relayed', at: 'statement' });
  const { number } = await logIn(person);
  await gate.reached();
  await act('kill', 'member-relay');
  await gate.turnAway();
  expect(await count('eventing.outbox', 'ordering_key = $1', person.id)).toBeGreaterThan(0);
  await gate.open();
  const taken = async () =>
    (await messagesOf(running.brokerUrl))
      .map(({ topic, body }) => ({ topic, ...JSON.parse(body) }))
      .filter(({ subject, type }) => subject === person.id && type === 'member.logged-in')
      .map(({ topic }) => topic);
  const internal = async () => (await taken()).filter((topic) => topic === 'member-internal').length;
  await eventually(async () => expect(await internal()).toBe(2), { timeoutMs: 20_000 });
  await act('cont', 'publish-recorder');
  await allIsWell();
  expect((await taken()).sort()).toEqual(['member-external', 'member-internal', 'member-internal']);
  await eventually(async () => expect(await count('login_record', 'session_number = $1', number)).toBe(1));
}, 60_000);

describe.each([
  ['device-login-recorder', 'login_record', 'true'],
  ['external-broadcaster', 'eventing.outbox', `new.channel = 'external'`],
])('the worker %s, killed', (worker, table, when) => {
  const effects = async (memberId: string): Promise<number> =>
    table === 'login_record'
      ? count('login_record', 'member_id = $1', memberId)
      : count(
          'eventing.published p join eventing.event_store e on e.id = p.event_id',
          `p.channel = 'external' and e.event_type = 'member.logged-in' and e.aggregate_id = $1`,
          memberId,
        );

  test.each([
    ['between effect and commit', true],
    ['between commit and answer', false],
  ])(
    '%s, has its effect once',
    async (_, rollsBack) => {
      const person = await register();
      await allIsWell();
      await using gate = await closeGate(superuserUrl, { table, at: 'commit', when });
      await logIn(person);
      await gate.reached();
      await act('kill', worker);
      // Without its client the server goes on committing.
      if (rollsBack) await gate.turnAway();
      await gate.open();
      await eventually(async () => expect(await effects(person.id)).toBe(1), { timeoutMs: 40_000 });
      await allIsWell();
      expect(await effects(person.id)).toBe(1);
    },
    60_000,
  );
});

test('PostgreSQL restarts under load: callers get 503 while it is gone, nothing else, and all recovers without a hand', async () => {
  const before = (await stack.running()).processes;
  const answers: string[] = [];
  let busy = true;
  const load = Array.from({ length: 4 }, async () => {
    while (busy) {
      const outcome = await register().then(
        () => 'created',
        (error: Error) => (error instanceof ApiError ? /answered (\d+)/.exec(error.message)![1]! : error.message),
      );
      answers.push(outcome);
    }
  });
  const created = () => answers.filter((answer) => answer === 'created').length;
  await eventually(() => created() > 5);
  await database.end();
  await act('restart', 'postgres');
  await eventually(() => answers.includes('503'));
  const sofar = created();
  await eventually(() => created() > sofar + 5, { timeoutMs: 20_000 });
  busy = false;
  await Promise.all(load);
  expect([...new Set(answers)].sort()).toEqual(['503', 'created']);
  await connectToDatabase();
  await allIsWell();
  const { postgres: _, ...after } = (await stack.running()).processes;
  for (const [name, { pid }] of Object.entries(after)) expect([name, pid]).toEqual([name, before[name]!.pid]);
}, 90_000);

test('the broker and the sidecars are killed under load: all arrive, in each member’s order, and each effect is there once', async () => {
  const sessions: number[] = [];
  let busy = true;
  const load = Array.from({ length: 4 }, async () => {
    const person = await register();
    while (busy) sessions.push((await logIn(person)).number);
  });
  const more = (before = sessions.length) => eventually(() => sessions.length > before + 10);
  for (const victim of ['broker', 'member-daprd', 'device-login-recorder-daprd', 'publish-recorder-daprd']) {
    await more();
    await act('kill', victim);
  }
  await more();
  busy = false;
  await Promise.all(load);
  await invariants(await stack.running());
  expect((await deliveries(running)).attempts).toBe(0);
  // What a killed sidecar had in its hands is brought again by the broker after a while.
  const recorded = () => count('login_record', 'session_number = any($1)', sessions);
  await eventually(async () => expect(await recorded()).toBe(sessions.length), { timeoutMs: 40_000 });
  expect(firstOutOfOrder(await messagesOf(running.brokerUrl))).toEqual([]);
}, 90_000);

/** Messages that the broker took for the first time although it had taken none yet of the fact before. */
function firstOutOfOrder(messages: { topic: string; body: string }[]): unknown[] {
  const last = new Map<string, number>();
  return messages
    .filter(({ topic }) => topic === 'member-internal')
    .map(({ body }) => JSON.parse(body))
    .filter(({ subject, sequence }) => {
      const [before, now] = [last.get(subject) ?? 0, Number(sequence)];
      last.set(subject, Math.max(before, now));
      return now > before + 1;
    });
}

test('members who log in at the same moment, on one device and on many, keep the sessions that no later one supersedes', async () => {
  const people = await Promise.all(Array.from({ length: 4 }, register));
  const devices = Array.from({ length: 4 }, () => randomUUID());
  const logIns = people.flatMap((person) => devices.map((device) => ({ person, device })));
  const sessions = await Promise.all(
    logIns.map(async ({ person, device }) => ({ person, device, number: (await logIn(person, device)).number })),
  );
  const lives = sessions.filter(
    ({ person, device, number }) =>
      !sessions.some((other) => other.number > number && (other.person === person || other.device === device)),
  );
  const alive = async () =>
    (
      await database.query('select number from session where logged_out_at is null and member_id = any($1)', [
        people.map(({ id }) => id),
      ])
    ).rows.map(({ number }) => Number(number));
  await eventually(async () => expect((await alive()).sort()).toEqual(lives.map(({ number }) => number).sort()));
  await allIsWell();
  expect((await alive()).sort()).toEqual(lives.map(({ number }) => number).sort());
}, 60_000);

test('of the three login workers one fails for a while: the other two do their work, and it makes up for it', async () => {
  const [anna, ben] = [await register(), await register()];
  await act('stop', 'device-login-recorder');
  const device = randomUUID();
  const sessions = [await logIn(anna), await logIn(anna, device), await logIn(ben, device)];
  await eventually(async () =>
    expect(await count('session', 'logged_out_at is null and member_id = any($1)', [anna.id, ben.id])).toBe(1),
  );
  expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(0);
  await act('cont', 'device-login-recorder');
  await eventually(async () =>
    expect(await count('login_record', 'member_id = any($1)', [anna.id, ben.id])).toBe(sessions.length),
  );
  await allIsWell();
}, 60_000);

test('a message that no broker takes is held back with its member, visibly, and no other waits for it', async () => {
  const [hurt, other] = [await register(), await register()];
  await allIsWell();
  const message = randomUUID();
  await database.query(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select $1::uuid, id, 'internal', 'member-internal', aggregate_id::text, jsonb_build_object('specversion', '1.0', 'id', $1::uuid, 'padding', repeat('x', 2000000))
       from eventing.event_store where aggregate_id = $2 limit 1`,
    [message, hurt.id],
  );
  await logIn(hurt);
  await eventually(async () => {
    // What goes through beside it shows that the broker is not to blame.
    await logIn(other);
    const { events } = await operator().get(`/v1/events?aggregateId=${hurt.id}`);
    expect(events[0].messages).toContainEqual(
      expect.objectContaining({ id: message, publishedAt: null, lastError: 'nats: maximum payload exceeded' }),
    );
    expect(events[0].messages.find(({ id }: { id: string }) => id === message).attempts).toBeGreaterThan(0);
  });
  await eventually(async () => expect(await count('eventing.outbox', 'ordering_key = $1', other.id)).toBe(0));
  expect(await count('eventing.outbox', 'ordering_key = $1', hurt.id)).toBe(2);
  await database.query('delete from eventing.outbox where id = $1', [message]);
  await invariants(await stack.running());
}, 60_000);

test('what is no event of ours is kept for an operator to see, and the topic goes on', async () => {
  const garbage = `no event ${randomUUID()}`;
  const stranger = { specversion: '1.0', id: randomUUID(), source: '/stranger', type: 'x', data: garbage };
  await publishRaw(running.brokerUrl, 'member-internal', JSON.stringify(stranger));
  await logIn(await register());
  await eventually(async () => {
    const { deliveries: dead } = await operator().get('/v1/dead-letters');
    const consumers = dead.map(({ consumer }: { consumer: string }) => consumer).sort();
    expect(consumers).toEqual([
      'device-login-recorder',
      'external-broadcaster',
      'other-device-logout',
      'other-member-logout',
      'publish-recorder',
    ]);
  });
  const { deliveries: dead } = await operator().get('/v1/dead-letters');
  for (const { consumer, eventId } of dead) {
    const { raw } = await operator().get(`/v1/dead-letters/${consumer}/${eventId}`);
    expect(raw).toContain(garbage);
    await operator().post(`/v1/dead-letters/${consumer}/${eventId}/discard`);
  }
  await invariants(await stack.running());
}, 60_000);

test('a neighbour that cannot be asked costs no attempt and no dead letter: what it was to be asked for is done when it is back', async () => {
  const families = new Api(running.familyAccountUrl);
  const members = new Api(running.memberUrl);
  const owner = await register();
  const { token } = await logIn(owner);
  await members.as(token).put(`/v1/members/${owner.id}/identity-verification`, {
    identityVerificationId: `ok-${randomUUID()}`,
  });
  const account = await families.as(token).post('/v1/family-accounts', { name: 'Home' });
  await act('stop', 'family-account');
  await members.as(token).delete(`/v1/members/${owner.id}/identity-verification`, { reason: 'to see what happens' });
  await act('stop', 'member');
  await act('cont', 'family-account');
  const family = new Client({ connectionString: running.databases.familyAccount.readonly });
  await family.connect();
  try {
    const kept = async () =>
      (await family.query(`select state, attempts from eventing.kept_delivery where consumer = 'membership'`)).rows;
    await eventually(async () => expect(await kept()).toEqual([{ state: 'failing', attempts: 0 }]), {
      timeoutMs: 20_000,
    });
    await act('cont', 'member');
    await eventually(async () => expect(await kept()).toEqual([]));
  } finally {
    await family.end();
  }
  const { status } = await families.as(running.familyAccountOperatorToken).get(`/v1/family-accounts/${account.id}`);
  expect(status).toBe('CLOSED');
  await invariants(await stack.running());
}, 60_000);
