import { v7 as uuid } from 'uuid';
import type { Consumer } from '#eventing/consumer';
import { redrive } from '#eventing/dead-letters';
import { Inbox } from '#eventing/inbox';
import { execute } from '#eventing/sql';
import { eventually } from '../../../support/eventually.ts';
import { eventOf, Lamp } from '../fixture.ts';
import { close, consumer, deferred, effects, fixture, open, startInbox } from './effects.ts';

beforeAll(open);
afterAll(close);

describe.each(['convergent', 'ordered'] as const)('A %s consumer', (order) => {
  test('applies an event once when it is delivered repeatedly and concurrently', async () => {
    const lamp = consumer(order);
    await using inbox = startInbox(lamp);
    const event = eventOf(uuid(), 1);
    await Promise.all(Array.from({ length: 8 }, () => inbox.deliver(lamp, { ...event, messageId: uuid() })));
    await inbox.deliver(lamp, event);
    expect(await effects(lamp)).toEqual([1]);
    expect(await deferred(lamp)).toEqual([]);
  });

  test('retries a failed event until it is applied; failed attempts leave no effect', async () => {
    let failures = 2;
    const lamp = consumer(order, () => {
      if (failures-- > 0) throw new Error('not yet');
    });
    await using inbox = startInbox(lamp);
    await inbox.deliver(lamp, eventOf(uuid(), 1));
    inbox.wake();
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
    await eventually(async () => expect(await deferred(lamp)).toEqual([]));
  });

  test('makes a failing event a dead letter after its attempts, and applies it once redriven', async () => {
    let broken = true;
    const lamp = consumer(order, () => {
      if (broken) throw new Error('cannot be handled');
    });
    await using inbox = startInbox(lamp);
    const event = eventOf(uuid(), 1);
    await inbox.deliver(lamp, event);
    await eventually(async () => {
      inbox.wake();
      expect(await deferred(lamp)).toMatchObject([
        { state: 'dead', attempts: 3, last_error: 'Error: cannot be handled' },
      ]);
    });
    broken = false;
    await inbox.deliver(lamp, event);
    expect(await effects(lamp)).toEqual([]);
    expect(await redrive(fixture.orm.em.fork(), lamp.name, event.eventId)).toBe('redriven');
    inbox.wake();
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
    await eventually(async () => expect(await deferred(lamp)).toEqual([]));
  });

  test('makes an event a dead letter when its handler ignores an error of the database', async () => {
    const handle: Consumer['handle'] = async (em) => void (await execute(em, 'select 1 / 0').catch(() => undefined));
    const lamp = { ...consumer(order), handle };
    await using inbox = startInbox(lamp);
    await inbox.deliver(lamp, eventOf(uuid(), 1));
    await eventually(async () => {
      inbox.wake();
      expect(await deferred(lamp)).toMatchObject([{ state: 'dead', attempts: 3 }]);
    });
  });

  test.each([
    ['a dependency cannot be reached', Object.assign(new Error('the dependency is unreachable'), { outage: true })],
    ['no connection is free', new Error('timeout exceeded when trying to connect')],
    ['a connection breaks', new Error('Connection terminated unexpectedly')],
    ['the database is read-only after a failover', Object.assign(new Error('read-only'), { code: '25006' })],
    ['the database’s host is unreachable', Object.assign(new Error('no route'), { code: 'EHOSTUNREACH' })],
    [
      'another session holds a lock',
      new Error('driver', { cause: Object.assign(new Error('lock'), { code: '55P03' }) }),
    ],
  ])('spends no attempt while %s', async (_, error) => {
    let isUnreachable = true;
    const lamp = consumer(order);
    const reading: Consumer = {
      ...lamp,
      read: async () => {
        if (isUnreachable) throw error;
      },
    };
    await using inbox = startInbox(reading);
    await inbox.deliver(reading, eventOf(uuid(), 1));
    expect(await deferred(lamp)).toMatchObject([{ state: 'failing', attempts: 0 }]);
    await fixture.database.sql('update eventing.kept_delivery set next_attempt_at = now() where consumer = $1', [
      lamp.name,
    ]);
    inbox.wake();
    isUnreachable = false;
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
  });
});

describe('A statement of a consumer', () => {
  const place = 'a\0b';
  test.each<[string, Consumer['handle']]>([
    ['in a statement', async (em) => void (await execute(em, 'select ?::text', [place]))],
    ['as an entity', async (em) => void em.persist(Lamp.install(place))],
  ])('that writes U+0000 %s makes the event a dead letter; other events are applied', async (_, write) => {
    const lamp = consumer('convergent');
    const poisoned = uuid();
    const handle: Consumer['handle'] = (em, event, read) =>
      event.eventId === poisoned ? write(em, event, read) : lamp.handle(em, event, read);
    const writing = { ...lamp, handle };
    await using inbox = startInbox(writing);
    await inbox.deliver(writing, eventOf(uuid(), 1, { eventId: poisoned }));
    await eventually(async () => {
      inbox.wake();
      expect(await deferred(lamp)).toMatchObject([{ event_id: poisoned, state: 'dead', attempts: 3 }]);
    });
    await inbox.deliver(writing, eventOf(uuid(), 1));
    expect(await effects(lamp)).toEqual([1]);
  });

  test.each([
    ['a missing column', 'select missing from effect'],
    ['a forbidden table', 'select from forbidden'],
  ])('that needs %s spends no attempt, logs an error and works after the repair', async (_, sql) => {
    await fixture.database.sql('create table if not exists forbidden ()');
    const errors: string[] = [];
    const lamp = consumer('convergent');
    let isRepaired = false;
    const writing: Consumer = {
      ...lamp,
      handle: (em, event, read) => (isRepaired ? lamp.handle(em, event, read) : execute(em, sql).then(() => undefined)),
    };
    await using inbox = new Inbox(fixture.orm, {
      ownSource: '/other',
      maxAttempts: 1,
      log: { warn: () => undefined, error: (_, message) => errors.push(message) },
    });
    inbox.start([writing]);
    await inbox.deliver(writing, eventOf(uuid(), 1));
    expect(await deferred(lamp)).toMatchObject([{ state: 'failing', attempts: 0 }]);
    expect(errors).toEqual([expect.stringMatching(/^database schema, grants or settings do not match/)]);
    isRepaired = true;
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
  });
});

test('a consumer whose dependency does not answer does not block other consumers', async () => {
  const hanging = Promise.withResolvers<void>();
  const blocked: Consumer = { ...consumer('convergent'), read: () => hanging.promise };
  let failures = 1;
  const other = consumer('convergent', () => {
    if (failures-- > 0) throw new Error('not yet');
  });
  const event = eventOf(uuid(), 1);
  await fixture.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, state, next_attempt_at, envelope) values ($1, $2, 'failing', now(), $3)`,
    [blocked.name, event.eventId, JSON.stringify(event)],
  );
  await using inbox = startInbox(blocked, other);
  await inbox.deliver(other, eventOf(uuid(), 1));
  await eventually(async () => {
    inbox.wake();
    expect(await effects(other)).toEqual([1]);
  });
  expect(await effects(blocked)).toEqual([]);
  hanging.resolve();
  await eventually(async () => expect(await effects(blocked)).toEqual([1]));
});

test('a deferred delivery of a type that its consumer no longer handles is deleted', async () => {
  const lamp = { ...consumer('convergent'), types: ['lamp.removed'] };
  const event = eventOf(uuid(), 1);
  await fixture.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, state, next_attempt_at, envelope) values ($1, $2, 'failing', now(), $3)`,
    [lamp.name, event.eventId, JSON.stringify(event)],
  );
  await using _ = startInbox(lamp);
  await eventually(async () => expect(await deferred(lamp)).toEqual([]));
  expect(await effects(lamp)).toEqual([]);
});

test('two processes that share a consumer apply each event once', async () => {
  const lamp = consumer('ordered', () => {
    if (Math.random() < 0.2) throw Object.assign(new Error('now and then'), { outage: true });
  });
  await using one = startInbox(lamp);
  await using other = startInbox(lamp);
  const ids = [uuid(), uuid(), uuid()];
  const events = ids.flatMap((id) => [1, 2, 3, 4, 5].map((sequence) => eventOf(id, sequence)));
  await Promise.all(events.flatMap((event) => [one.deliver(lamp, event), other.deliver(lamp, event)]));
  const retryNow = async () => {
    await fixture.database.sql(
      `update eventing.kept_delivery set next_attempt_at = now() where consumer = $1 and state = 'failing'`,
      [lamp.name],
    );
    one.wake();
    expect((await effects(lamp)).length).toBe(15);
  };
  await eventually(retryNow, { timeoutMs: 20_000 });
  const rows = await fixture.database.sql(
    'select count(distinct event_id)::int as events from effect where consumer = $1',
    [lamp.name],
  );
  expect(rows).toEqual([{ events: 15 }]);
});
