import { setTimeout as delay } from 'node:timers/promises';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { Inbox } from '#eventing/inbox';
import { execute } from '#eventing/sql';
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
    expect(loud).toEqual(['error: consumer fails for several aggregates: failures spend no attempts']);
    state.isBroken = false;
    await eventually(() => allApplied(handler, 30), { timeoutMs: 30_000 });
    expect(lines).toContain('warn: consumer handles events again');
  },
);

test('events of one type that all fail delay no others, and become dead letters', async () => {
  const handler = consumer('convergent', ({ type }) => {
    if (type === 'lamp.removed') throw new Error('a bug of one type');
  });
  await using inbox = start(handler);
  for (let i = 0; i < 12; i++) await inbox.deliver(handler, eventOf(uuid(), 1, { type: 'lamp.removed' }));
  let healthy = 0;
  await eventually(
    async () => {
      await inbox.deliver(handler, eventOf(uuid(), 1));
      expect(await effects(handler)).toHaveLength(++healthy);
      inbox.wake();
      expect(new Set(await statesOf(handler))).toEqual(new Set(['dead']));
    },
    { timeoutMs: 40_000 },
  );
  expect(await deferred(handler)).toHaveLength(12);
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
  const handler = consumer('convergent');
  let isDown = true;
  const reading: Consumer = {
    ...handler,
    read: async () => {
      if (isDown) throw unreachable;
    },
  };
  const events = Array.from({ length: 20 }, () => eventOf(uuid(), 1));
  await fixture.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, state, next_attempt_at)
     select $1, (e ->> 'eventId')::uuid, e ->> 'source', e ->> 'aggregateId', 1, e ->> 'type', e, 'failing', now()
       from json_array_elements($2::json) e`,
    [handler.name, JSON.stringify(events)],
  );
  await using _ = start(reading);
  await eventually(() => expect(lines).toHaveLength(1));
  isDown = false;
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

  test('accepts an event that another replica is deferring at the same time', async () => {
    const { inbox, reading } = await withOpenCircuit();
    const event = of('/other');
    await fixture.database.sql('begin');
    await fixture.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state)
       values ($1, $2, '/other', $3, 1, 'lamp.inspected', 'failing')`,
      [reading.name, event.eventId, event.aggregateId],
    );
    const delivered = inbox.deliver(reading, event);
    const isWaiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and usename = current_user";
    await eventually(async () => expect(await execute(fixture.orm.em.fork(), isWaiting)).toHaveLength(1));
    await fixture.database.sql('commit');
    await delivered;
  });

  test('leaves the row of a dead letter as it is when the event is delivered again', async () => {
    const { inbox, reading } = await withOpenCircuit();
    const event = of('/other');
    await inbox.deliver(reading, event);
    const isDead = [
      `update eventing.kept_delivery set state = 'dead', attempts = 1, last_error = 'Error: no',
      next_attempt_at = null where event_id = $1`,
      [event.eventId],
    ] as const;
    await fixture.database.sql(isDead[0], [...isDead[1]]);
    await inbox.deliver(reading, { ...event, messageId: uuid() });
    const rows = (await deferred(reading)).filter(({ event_id }) => event_id === event.eventId);
    expect(rows).toMatchObject([{ state: 'dead', attempts: 1, last_error: 'Error: no', next_attempt_at: null }]);
  });

  test('replaces a row that only claims the id of a stored event of this system', async () => {
    const { inbox, reading } = await withOpenCircuit();
    const lamp = await fixture.install();
    const [stored] = await fixture.database.sql<{ id: string; event_type: string }>(
      'select id, event_type from eventing.event_store where aggregate_id = $1',
      [lamp.id],
    );
    const genuine = eventOf(lamp.id, 1, { source: '/lamp', eventId: stored!.id, type: stored!.event_type });
    await fixture.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state)
       values ($1, $2, '/lamp', $3, 7, 'lamp.inspected', 'failing')`,
      [reading.name, stored!.id, uuid()],
    );
    const all: Consumer = { ...reading, types: 'all' };
    await inbox.deliver(all, genuine);
    const rows = (await deferred(reading)).filter(({ event_id }) => event_id === stored!.id);
    expect(rows).toMatchObject([{ sequence: '1', aggregate_id: lamp.id, state: 'failing' }]);
  });

  test('defers no event of a type that the consumer skips', async () => {
    const { inbox, reading } = await withOpenCircuit();
    await inbox.deliver(reading, of('/other', { type: 'lamp.removed' }));
    expect(await deferred(reading)).toHaveLength(1);
  });
});
