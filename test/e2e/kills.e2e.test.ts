import { randomUUID } from 'node:crypto';
import { Api } from '../../local/api.ts';
import { type Answer, caller } from '../support/call.ts';
import { eventually } from '../support/eventually.ts';
import { messagesOf, takeRepeats } from './broker.ts';
import { closeGate } from './gate.ts';
import { deliveries } from './invariants.ts';
import { ownSystem, type Person } from './own-system.ts';
import { noteNoWrites, noteWrites } from './writes.ts';

const system = ownSystem({ RESEND_AFTER_SECONDS: '5' });
const { running, processes, superuserUrl, count, act, register, logIn, invariants, allIsWell } = system;

test('an API that is killed after the flush and before the commit leaves neither member nor event, and can be asked again', async () => {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Nobody yet' };
  const facts = await count('eventing.event_store', 'true');
  await using gate = await closeGate(superuserUrl(), { table: 'public.member', at: 'commit' });
  const asked = new Api(running().memberUrl).post('/v1/members', person).catch((error: Error) => error);
  await gate.reached();
  await act('kill', 'member');
  await gate.turnAway();
  expect(await asked).toMatchObject({ message: 'fetch failed' });
  await gate.open();
  expect(await count('member', 'email = $1', person.email)).toBe(0);
  expect(await count('eventing.event_store', 'true')).toBe(facts);
  await eventually(() => new Api(running().memberUrl).post('/v1/members', person));
  expect(await count('member', 'email = $1', person.email)).toBe(1);
  await allIsWell();
}, 60_000);

test('a relay that is killed between publishing and noting it publishes again, it comes twice, and each effect is there once', async () => {
  const person = await register();
  await allIsWell();
  await takeRepeats(running().brokerUrl, 'member-internal');
  // The recorder would take what is back already out of the outbox itself.
  await act('stop', 'publish-recorder');
  await using gate = await closeGate(superuserUrl(), { table: 'eventing.relayed', at: 'statement' });
  const { number } = await logIn(person);
  await gate.reached();
  await act('kill', 'member-relay');
  await gate.turnAway();
  expect(await count('eventing.outbox', 'ordering_key = $1', person.id)).toBeGreaterThan(0);
  await gate.open();
  const taken = async () =>
    (await messagesOf(running().brokerUrl))
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

/** What a worker does about a log-in. */
interface Work {
  readonly worker: string;
  /** The rows that its transaction writes. */
  readonly writes: { readonly table: string; readonly when?: string };
  /** @returns what brings the work about, and how often each of its effects is there */
  prepare(): Promise<{ logIn(): Promise<unknown>; effects(): Promise<number[]> }>;
}

const facts = (type: string, { id }: Person) =>
  count('eventing.event_store', 'event_type = $1 and aggregate_id = $2', type, id);
const externalMessages = (type: string, { id }: Person) =>
  count(
    'eventing.published p join eventing.event_store e on e.id = p.event_id',
    `p.channel = 'external' and e.event_type = $1 and e.aggregate_id = $2`,
    type,
    id,
  );
const logOuts = (who: Person) =>
  Promise.all([facts('member.logged-out', who), externalMessages('member.logged-out', who)]);

const works: Work[] = [
  {
    worker: 'device-login-recorder',
    writes: { table: 'login_record' },
    async prepare() {
      const person = await register();
      const effects = () =>
        Promise.all(['login_record', 'public.written'].map((table) => count(table, 'member_id = $1', person.id)));
      return { logIn: () => logIn(person), effects };
    },
  },
  {
    worker: 'external-broadcaster',
    writes: { table: 'eventing.outbox', when: `new.channel = 'external'` },
    async prepare() {
      const person = await register();
      return { logIn: () => logIn(person), effects: async () => [await externalMessages('member.logged-in', person)] };
    },
  },
  {
    worker: 'other-device-logout',
    writes: { table: 'eventing.event_store', when: `new.event_channel = 'other-device-logout'` },
    async prepare() {
      const person = await register();
      await logIn(person);
      return { logIn: () => logIn(person), effects: () => logOuts(person) };
    },
  },
  {
    worker: 'other-member-logout',
    writes: { table: 'eventing.event_store', when: `new.event_channel = 'other-member-logout'` },
    async prepare() {
      const [superseded, later] = [await register(), await register()];
      const device = randomUUID();
      await logIn(superseded, device);
      return { logIn: () => logIn(later, device), effects: () => logOuts(superseded) };
    },
  },
];

describe.each(works)('the worker $worker, killed', ({ worker, writes, prepare }) => {
  beforeAll(() => system.sql(noteWrites));
  afterAll(() => system.sql(noteNoWrites));

  test.each([
    ['between effect and commit', true],
    ['between commit and answer', false],
  ])(
    '%s, has its effect once',
    async (_, rollsBack) => {
      const { logIn, effects } = await prepare();
      const once = (await effects()).map(() => 1);
      await allIsWell();
      await using gate = await closeGate(superuserUrl(), { ...writes, at: 'commit' });
      await logIn();
      await gate.reached();
      await act('kill', worker);
      // Without its client the server goes on committing.
      if (rollsBack) await gate.turnAway();
      await gate.open();
      await eventually(async () => expect(await effects()).toEqual(once), { timeoutMs: 40_000 });
      await allIsWell();
      expect(await effects()).toEqual(once);
    },
    60_000,
  );
});

test('PostgreSQL restarts under load: callers get 503 while it is gone, nothing else, and all recovers without a hand', async () => {
  const before = await processes();
  const [{ email, password }, reader] = [await register(), await register()];
  const { token } = await logIn(reader);
  const ask = caller(running().memberUrl);
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const asking: Record<string, () => Promise<Answer>> = {
    registering: () =>
      ask('POST', '/v1/members', {
        body: { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Somebody' },
      }),
    'logging in': () => ask('POST', '/v1/sessions', { body: { email, password, device } }),
    reading: () => ask('GET', '/v1/sessions/current', { token }),
  };
  const outcomes = Object.keys(asking).map((what) => ({
    what,
    well: 0,
    /** Of each 503. */
    retryAfters: [] as (string | null)[],
    others: [] as unknown[],
  }));
  await using load = startLoad(
    [...outcomes, ...outcomes].map((outcome) => async () => {
      const answer = await asking[outcome.what]!().catch((error: Error) => error);
      if (Error.isError(answer)) outcome.others.push(answer.message);
      else if (answer.status < 300) outcome.well += 1;
      else if (answer.status === 503) outcome.retryAfters.push(answer.headers.get('retry-after'));
      else outcome.others.push([answer.status, answer.body]);
    }),
  );
  const goesOn = (so = outcomes.map(({ well }) => well)) =>
    eventually(() => outcomes.every(({ well }, index) => well > so[index]! + 5), { timeoutMs: 20_000 });
  await goesOn();
  await system.disconnectFromDatabase();
  await act('restart', 'postgres');
  await eventually(() => outcomes.every(({ retryAfters }) => retryAfters.length > 0));
  await goesOn();
  await load.end();
  for (const { what, retryAfters, others } of outcomes) {
    expect({ what, others }).toEqual({ what, others: [] });
    expect({ what, unsaid: retryAfters.filter((seconds) => !/^[1-9]\d*$/.test(seconds ?? '')) }).toEqual({
      what,
      unsaid: [],
    });
  }
  await system.connectToDatabase();
  await allIsWell();
  const { postgres: _, ...after } = await processes();
  for (const [name, { pid }] of Object.entries(after)) expect([name, pid]).toEqual([name, before[name]!.pid]);
}, 90_000);

test('the broker and the sidecars are killed under load: all arrive, in each member’s order, and each effect is there once', async () => {
  const sessions: number[] = [];
  const people = await Promise.all(Array.from({ length: 4 }, register));
  await using load = startLoad(people.map((person) => async () => void sessions.push((await logIn(person)).number)));
  const more = (before = sessions.length) => eventually(() => sessions.length > before + 10);
  for (const victim of ['broker', 'member-daprd', 'device-login-recorder-daprd', 'publish-recorder-daprd']) {
    await more();
    await act('kill', victim);
  }
  await more();
  await load.end();
  await invariants();
  expect((await deliveries(running())).attempts).toBe(0);
  // What a killed sidecar had in its hands is brought again by the broker after a while.
  const recorded = () => count('login_record', 'session_number = any($1)', sessions);
  await eventually(async () => expect(await recorded()).toBe(sessions.length), { timeoutMs: 40_000 });
  expect(firstOutOfOrder(await messagesOf(running().brokerUrl))).toEqual([]);
}, 90_000);

/** Does each of these over and over, until it is told to end or the test is over. */
function startLoad(asking: (() => Promise<void>)[]) {
  let busy = true;
  const all = Promise.all(
    asking.map(async (ask) => {
      while (busy) await ask();
    }),
  );
  const end = async (): Promise<void> => {
    busy = false;
    await all;
  };
  return { end, [Symbol.asyncDispose]: end };
}

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
