import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { Inbox } from '#eventing/inbox';
import { ConflictError, NotGenuineError } from '../../../../lib/eventing/store/genuine.ts';
import { eventually } from '../../../support/eventually.ts';
import { eventOf } from '../fixture.ts';
import { close, consumer, deferred, effects, fixture, open } from './effects.ts';

beforeAll(open);
afterAll(close);

const unreachable = Object.assign(new Error('no answer'), { outage: true });
let lines: string[];
beforeEach(() => {
  lines = [];
});
const keep = (level: string) => (_: object, message: string) => void lines.push(`${level}: ${message}`);

/** Starts an inbox whose deliveries are dead after two attempts. */
function start(...consumers: Consumer[]): Inbox {
  const log = { warn: keep('warn'), error: keep('error') };
  const inbox = new Inbox(fixture.orm, { ownSource: '/other', maxAttempts: 2, backoffMs: 5, log });
  inbox.start(consumers);
  return inbox;
}

/** A consumer that fails for all events until it is repaired. */
function failing(order: Consumer['order'] = 'convergent') {
  const state = { isBroken: true, calls: 0 };
  const handler = consumer(order, () => {
    state.calls++;
    if (state.isBroken) throw new Error('a bug');
  });
  return { handler, state };
}

const statesOf = async (it: Consumer) => (await deferred(it)).map(({ state }) => state);
const allApplied = async (it: Consumer, count: number) => {
  expect(await deferred(it)).toEqual([]);
  expect(await effects(it)).toHaveLength(count);
};

test.each(['convergent', 'ordered'] as const)(
  'a failing %s consumer makes no dead letters, and handles all events once repaired',
  async (order) => {
    const { handler, state } = failing(order);
    await using inbox = start(handler);
    const aggregates = Array.from({ length: 15 }, () => uuid());
    const events = [2, 1].flatMap((sequence) => aggregates.map((id) => eventOf(id, sequence)));
    for (const event of events) await inbox.deliver(handler, event);
    const before = state.calls;
    await eventually(() => expect(state.calls).toBeGreaterThan(before + 4));
    expect(await statesOf(handler)).not.toContain('dead');
    expect(Math.max(...(await deferred(handler)).map(({ attempts }) => attempts))).toBe(1);
    const loud = lines.filter((line) => line.startsWith('error'));
    expect(loud).toEqual([
      'error: consumer fails for several aggregates: deferring their events, no attempts are spent',
    ]);
    state.isBroken = false;
    await eventually(() => allApplied(handler, 30), { timeoutMs: 30_000 });
    expect(lines).toContain('warn: consumer handles events again');
  },
);

test('an event that fails alone becomes a dead letter while others are handled', async () => {
  const poison = new Set([uuid(), uuid(), uuid(), uuid()]);
  const handler = consumer('convergent', ({ eventId }) => {
    if (poison.has(eventId)) throw new Error('poison');
  });
  await using inbox = start(handler);
  for (const eventId of poison) await inbox.deliver(handler, eventOf(uuid(), 1, { eventId }));
  let healthy = 0;
  await eventually(async () => {
    healthy++;
    await inbox.deliver(handler, eventOf(uuid(), 1));
    inbox.wake();
    expect(await statesOf(handler)).toEqual(['dead', 'dead', 'dead', 'dead']);
  });
  expect(await effects(handler)).toHaveLength(healthy);
});

test('a dependency that does not answer is asked by one delivery, then by one probe at a time', async () => {
  const handler = consumer('convergent');
  let isHanging = true;
  const asked: number[] = [];
  let concurrent = 0;
  let most = 0;
  const reading: Consumer = {
    ...handler,
    async read() {
      asked.push(performance.now());
      most = Math.max(most, ++concurrent);
      if (isHanging) await delay(100);
      concurrent--;
      if (isHanging) throw unreachable;
    },
  };
  await using inbox = start(reading);
  await inbox.deliver(reading, eventOf(uuid(), 1));
  expect(asked).toHaveLength(1);
  const probed = () => eventually(() => expect(asked.length).toBeGreaterThan(4));
  const others = Array.from({ length: 50 }, () => inbox.deliver(reading, eventOf(uuid(), 1)));
  await Promise.all([...others, probed()]);
  expect(most).toBe(1);
  // Each question takes 100 ms. The first probe is immediate, the others wait at least three quarters of 250 ms.
  const pauses = asked.slice(2).map((at, index) => at - asked[index + 1]!);
  expect(Math.min(...pauses)).toBeGreaterThan(280);
  expect((await deferred(handler)).map(({ attempts }) => attempts)).toEqual(Array.from({ length: 51 }, () => 0));
  isHanging = false;
  await eventually(() => allApplied(handler, 51), { timeoutMs: 30_000 });
  expect(lines).toEqual([
    'warn: a dependency is unavailable: deferring events without asking it, probing',
    'warn: consumer handles events again',
  ]);
});

test('deliveries that were claimed when the circuit opens stay due', async () => {
  const { handler, state } = failing();
  const events = Array.from({ length: 20 }, () => eventOf(uuid(), 1));
  await fixture.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, state, next_attempt_at)
     select $1, (e ->> 'eventId')::uuid, e ->> 'source', e ->> 'aggregateId', 1, e ->> 'type', e, 'failing', now()
       from json_array_elements($2::json) e`,
    [handler.name, JSON.stringify(events)],
  );
  await using _ = start(handler);
  await eventually(() => expect(state.calls).toBeGreaterThan(3));
  state.isBroken = false;
  // A claimed delivery would be due after a minute.
  await eventually(() => allApplied(handler, 20), { timeoutMs: 30_000 });
});

describe('An open circuit', () => {
  /** An inbox without retries, whose consumer's circuit is open. */
  const withOpenCircuit = async () => {
    const handler = { ...consumer('convergent'), types: ['lamp.inspected'] };
    const reading: Consumer = {
      ...handler,
      read: async () => {
        throw unreachable;
      },
    };
    const log = { warn: keep('warn'), error: keep('error') };
    const inbox = new Inbox(fixture.orm, { ownSource: '/lamp', maxAttempts: 2, backoffMs: 5, log });
    await inbox.deliver(reading, of('/other'));
    return { inbox, reading };
  };
  const of = (source: string, change: Partial<ReceivedEvent> = {}) =>
    eventOf(uuid(), 1, { source, type: 'lamp.inspected', ...change });

  test('refuses an event of this system that was never stored', async () => {
    const { inbox, reading } = await withOpenCircuit();
    await expect(inbox.deliver(reading, of('/lamp'))).rejects.toThrow(NotGenuineError);
    expect(await deferred(reading)).toHaveLength(1);
  });

  test('refuses a different event with the id of a deferred one, so that its body is stored', async () => {
    const { inbox, reading } = await withOpenCircuit();
    const event = of('/other');
    await inbox.deliver(reading, event);
    const before = await deferred(reading);
    await inbox.deliver(reading, { ...event, messageId: uuid() });
    await expect(inbox.deliver(reading, { ...event, aggregateId: uuid() })).rejects.toThrow(ConflictError);
    const ids = (rows: { event_id: string }[]) => rows.map((row) => ({ ...row, next_attempt_at: undefined }));
    expect(ids(await deferred(reading))).toEqual(ids(before));
  });

  test('defers no event of a type that the consumer skips', async () => {
    const { inbox, reading } = await withOpenCircuit();
    await inbox.deliver(reading, of('/other', { type: 'lamp.removed' }));
    expect(await deferred(reading)).toHaveLength(1);
  });
});
