import { randomUUID } from 'node:crypto';
import { Api } from '../../local/demo/api.ts';
import { type Answer, caller } from '../support/call.ts';
import { eventually } from '../support/eventually.ts';
import { acceptRepeats, countUnacknowledged, messagesOf } from './broker.ts';
import { deliveryTotals } from './invariants.ts';
import { ownSystem } from './own-system.ts';
import { closeTransactionGate } from './transaction-gate.ts';
import { workerCases } from './worker-cases.ts';
import { startWriteLog, stopWriteLog } from './write-log.ts';

const system = ownSystem({ RESEND_AFTER_SECONDS: '5' });
const { running, processes, superuserUrl, count, control, register, logIn, expectInvariants, expectSettled } = system;

test('an API killed between flush and commit leaves neither member nor event, and can be retried', async () => {
  const person = { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Anna' };
  const eventCount = await count('eventing.event_store', 'true');
  await using transactionGate = await closeTransactionGate(superuserUrl(), { table: 'public.member', at: 'commit' });
  const registration = new Api(running().memberUrl).post('/v1/members', person).catch((error: Error) => error);
  await transactionGate.waitUntilReached();
  await control('kill', 'member');
  await transactionGate.terminateBlocked();
  expect(await registration).toMatchObject({ message: 'fetch failed' });
  await transactionGate.open();
  expect(await count('member', 'email = $1', person.email)).toBe(0);
  expect(await count('eventing.event_store', 'true')).toBe(eventCount);
  await eventually(() => new Api(running().memberUrl).post('/v1/members', person));
  expect(await count('member', 'email = $1', person.email)).toBe(1);
  await expectSettled();
});

test('a relay killed between publishing and marking publishes again; each effect happens once', async () => {
  const person = await register();
  await expectSettled();
  await acceptRepeats(running().brokerUrl, 'member-internal');
  // Otherwise the recorder would remove the confirmed message from the outbox.
  await control('stop', 'publish-recorder');
  const where = { table: 'eventing.relayed', at: 'statement' } as const;
  await using transactionGate = await closeTransactionGate(superuserUrl(), where);
  const { number } = await logIn(person);
  await transactionGate.waitUntilReached();
  await control('kill', 'member-relay');
  await transactionGate.terminateBlocked();
  expect(await count('eventing.outbox', 'ordering_key = $1', person.id)).toBeGreaterThan(0);
  await transactionGate.open();
  const acceptedTopics = async () =>
    (await messagesOf(running().brokerUrl))
      .map(({ topic, body }) => ({ topic, ...JSON.parse(body) }))
      .filter(({ subject, type }) => subject === person.id && type === 'member.logged-in')
      .map(({ topic }) => topic);
  const internal = async () => (await acceptedTopics()).filter((topic) => topic === 'member-internal').length;
  await eventually(async () => expect(await internal()).toBe(2));
  await control('cont', 'publish-recorder');
  await expectSettled();
  expect((await acceptedTopics()).sort()).toEqual(['member-external', 'member-internal', 'member-internal']);
  await eventually(async () => expect(await count('login_record', 'session_number = $1', number)).toBe(1));
});

test('messages acknowledged and not yet confirmed when the recorder is killed are sent again', async () => {
  const person = await register();
  await expectSettled();
  for (const topic of ['member-internal', 'member-external']) await acceptRepeats(running().brokerUrl, topic);
  const where = { table: 'eventing.published', at: 'statement' } as const;
  await using transactionGate = await closeTransactionGate(superuserUrl(), where);
  const before = await count('eventing.published', 'true');
  await logIn(person);
  await transactionGate.waitUntilReached();
  await eventually(async () => expect(await countUnacknowledged(running().brokerUrl)).toBe(0));
  await control('kill', 'publish-recorder');
  await transactionGate.terminateBlocked();
  expect(await count('eventing.published', 'true')).toBe(before);
  await transactionGate.open();
  await expectSettled();
  expect(await count('eventing.published', 'true')).toBe(before + 2);
});

describe.each(workerCases(system))('Worker $worker', ({ worker, writes, prepare }) => {
  beforeAll(() => system.sql(startWriteLog));
  afterAll(() => system.sql(stopWriteLog));

  test.each([
    ['effect and commit', true],
    ['commit and answer', false],
  ])('has its effect once when killed between %s', async (_, rollsBack) => {
    const { logIn, effects } = await prepare();
    const once = (await effects()).map(() => 1);
    await expectSettled();
    await using transactionGate = await closeTransactionGate(superuserUrl(), { ...writes, at: 'commit' });
    await logIn();
    await transactionGate.waitUntilReached();
    await control('kill', worker);
    // Otherwise the server would commit although its client is gone.
    if (rollsBack) await transactionGate.terminateBlocked();
    await transactionGate.open();
    await eventually(async () => expect(await effects()).toEqual(once));
    await expectSettled();
    expect(await effects()).toEqual(once);
  });
});

test('a PostgreSQL restart under load causes only 503s, and everything recovers by itself', async () => {
  const before = await processes();
  const [{ email, password }, reader] = [await register(), await register()];
  const { token } = await logIn(reader);
  const call = caller({ public: running().memberUrl });
  const device = { id: randomUUID(), name: 'phone', os: 'any' };
  const requests: Record<string, () => Promise<Answer>> = {
    registering: () =>
      call('POST', '/v1/members', {
        body: { email: `${randomUUID()}@example.com`, password: randomUUID(), name: 'Anna' },
      }),
    'logging in': () => call('POST', '/v1/sessions', { body: { email, password, device } }),
    reading: () => call('GET', '/v1/sessions/current', { token }),
  };
  const outcomes = Object.keys(requests).map((what) => ({
    what,
    succeeded: 0,
    /** Retry-After of each 503. */
    retryAfters: [] as (string | null)[],
    unexpected: [] as unknown[],
  }));
  await using load = startLoad(
    [...outcomes, ...outcomes].map((outcome) => async () => {
      const answer = await requests[outcome.what]!().catch((error: Error) => error);
      if (Error.isError(answer)) outcome.unexpected.push(answer.message);
      else if (answer.status < 300) outcome.succeeded += 1;
      else if (answer.status === 503) outcome.retryAfters.push(answer.headers.get('retry-after'));
      else outcome.unexpected.push([answer.status, answer.body]);
    }),
  );
  const waitForProgress = (since = outcomes.map(({ succeeded }) => succeeded)) =>
    eventually(() => outcomes.every(({ succeeded }, index) => succeeded > since[index]! + 5));
  await waitForProgress();
  await system.disconnectFromDatabase();
  await control('restart', 'postgres');
  await eventually(() => outcomes.every(({ retryAfters }) => retryAfters.length > 0));
  await waitForProgress();
  await load.end();
  for (const { what, retryAfters, unexpected } of outcomes) {
    expect({ what, unexpected }).toEqual({ what, unexpected: [] });
    expect({ what, invalid: retryAfters.filter((seconds) => !/^[1-9]\d*$/.test(seconds ?? '')) }).toEqual({
      what,
      invalid: [],
    });
  }
  await system.connectToDatabase();
  await expectSettled();
  const { postgres: _, ...after } = await processes();
  for (const [name, { pid }] of Object.entries(after)) expect([name, pid]).toEqual([name, before[name]!.pid]);
});

test('killing broker and sidecars under load loses nothing, keeps order and repeats no effect', async () => {
  const sessions: number[] = [];
  const people = await Promise.all(Array.from({ length: 4 }, register));
  await using load = startLoad(people.map((person) => async () => void sessions.push((await logIn(person)).number)));
  const waitForLogins = (before = sessions.length) => eventually(() => sessions.length > before + 10);
  for (const victim of ['broker', 'member-daprd', 'device-login-recorder-daprd', 'publish-recorder-daprd']) {
    await waitForLogins();
    await control('kill', victim);
  }
  await waitForLogins();
  await load.end();
  await expectInvariants();
  expect((await deliveryTotals(running())).attempts).toBe(0);
  // The broker repeats the deliveries that a killed sidecar had in progress, after a while.
  const recorded = () => count('login_record', 'session_number = any($1)', sessions);
  await eventually(async () => expect(await recorded()).toBe(sessions.length));
  expect(firstOutOfOrder(await messagesOf(running().brokerUrl))).toEqual([]);
});

/** Repeats each task until `end` is called or the test is over. */
function startLoad(tasks: (() => Promise<void>)[]) {
  let isRunning = true;
  const all = Promise.all(
    tasks.map(async (run) => {
      while (isRunning) await run();
    }),
  );
  const end = async (): Promise<void> => {
    isRunning = false;
    await all;
  };
  return { end, [Symbol.asyncDispose]: end };
}

/** Returns the messages that the broker accepted before their predecessor. */
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
