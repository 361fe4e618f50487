import { Client } from 'pg';
import { v7 } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { redrive } from '#eventing/dead-letters';
import { Inbox } from '#eventing/inbox';
import { ConflictError, NotGenuineError } from '../../../../lib/eventing/store/genuine.ts';
import { eventually } from '../../../support/eventually.ts';
import { eventOf } from '../fixture.ts';
import { close, consumer, deferred, effects, fixture, open } from './effects.ts';

// A convergent consumer never applies an event of which its inbox rows are deleted, because it may have applied it before.

beforeAll(async () => {
  await open();
  await moveHorizon(90);
});
afterAll(close);

const DAY = 24 * 3600 * 1000;
const daysAgo = (days: number) => Date.now() - days * DAY;
/** From now on inbox rows of events that are older are missing. */
const moveHorizon = (days: number) =>
  fixture.database.sql('update eventing.horizon set first_id = $1', [v7({ msecs: daysAgo(days) })]);
const silent = { warn: () => undefined, error: () => undefined };
const start = (...consumers: Consumer[]): Inbox => {
  const inbox = new Inbox(fixture.orm, { ownSource: '/other', backoffMs: 5, log: silent });
  inbox.start(consumers);
  return inbox;
};

/** An event of so many days ago: its id says so. */
const eventFrom = (days: number, sequence = 1): ReceivedEvent => {
  const [eventId, time] = [v7({ msecs: daysAgo(days) }), new Date(daysAgo(days)).toISOString()];
  return eventOf(v7(), sequence, { eventId, time });
};
const expectTooOld = async (it: Consumer) => {
  expect(await effects(it)).toEqual([]);
  expect(await deferred(it)).toMatchObject([{ state: 'dead', last_error: expect.stringMatching(/^TooOldError: /) }]);
};

test('an event that is too old is a dead letter, a younger one is applied', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  const old = eventFrom(91);
  await inbox.deliver(it, old);
  await inbox.deliver(it, old);
  await expectTooOld(it);
  await inbox.deliver(it, eventFrom(89));
  expect(await effects(it)).toHaveLength(1);
});

test('the reason names the time of the event and how far the inbox reaches back', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  const event = eventFrom(100);
  await inbox.deliver(it, event);
  const [row] = await deferred(it);
  const iso = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
  expect(row!.last_error).toMatch(
    new RegExp(`^TooOldError: The event is from ${event.time}, and the inbox reaches back to ${iso}: whether it `),
  );
});

test('an old event that the inbox still has is a duplicate', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  const event = eventFrom(91);
  await fixture.database.sql('insert into eventing.inbox (consumer, event_id) values ($1, $2)', [
    it.name,
    event.eventId,
  ]);
  await inbox.deliver(it, event);
  expect([await effects(it), await deferred(it)]).toEqual([[], []]);
});

test('an event that is too old is applied once when an operator redrives it', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  const event = eventFrom(91);
  await inbox.deliver(it, event);
  expect(await redrive(fixture.orm.em.fork(), it.name, event.eventId)).toBe('redriven');
  inbox.wake();
  await eventually(async () => expect(await effects(it)).toHaveLength(1));
  await inbox.deliver(it, event);
  expect([await effects(it), await deferred(it)]).toMatchObject([{ length: 1 }, []]);
});

test('an event that failed is retried, however old it has become', async () => {
  let isBroken = true;
  const it = consumer('convergent', () => {
    if (isBroken) throw new Error('a bug');
  });
  await using inbox = start(it);
  await inbox.deliver(it, eventFrom(1));
  await moveHorizon(0);
  isBroken = false;
  await eventually(async () => expect(await effects(it)).toHaveLength(1));
  await moveHorizon(90);
});

describe('An event that is too old is a dead letter as well', () => {
  test('when the consumer reads from a dependency first, which then fails', async () => {
    const handler = consumer('convergent');
    const read = async () => {
      throw new Error('never called');
    };
    const it: Consumer = { ...handler, read };
    await using inbox = start(it);
    await inbox.deliver(it, eventFrom(91));
    await expectTooOld(it);
  });

  test('when a dependency of the consumer is unavailable', async () => {
    const it = consumer('convergent', ({ type }) => {
      if (type === 'lamp.removed') throw Object.assign(new Error('no answer'), { outage: true });
    });
    await using inbox = start(it);
    await inbox.deliver(it, eventOf(v7(), 1, { type: 'lamp.removed' }));
    await inbox.deliver(it, eventFrom(91));
    const old = (await deferred(it)).filter(({ last_error }) => last_error?.startsWith('TooOldError'));
    expect(old).toMatchObject([{ state: 'dead' }]);
    expect(await effects(it)).toEqual([]);
  });
});

test('a forged event that claims an old id is not genuine, and takes no row of the real one', async () => {
  const it: Consumer = { ...consumer('convergent'), read: async () => undefined };
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silent });
  await expect(inbox.deliver(it, eventFrom(100))).rejects.toThrow(NotGenuineError);
  expect(await deferred(it)).toEqual([]);
});

test('an ordered consumer applies events of any age: its cursor says which come next', async () => {
  const it = consumer('ordered');
  await using inbox = start(it);
  const first = eventFrom(400);
  const second = { ...eventFrom(300, 2), aggregateId: first.aggregateId };
  for (const event of [first, second, first]) await inbox.deliver(it, event);
  expect(await effects(it)).toHaveLength(2);
  expect(await deferred(it)).toEqual([]);
});

test('an event that fails before it is known to be too old is a dead letter, and not retried', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  const blocker = new Client(fixture.database.urls.owner);
  await blocker.connect();
  try {
    // As housekeeping does; the statement that waits for it is cancelled, as by the time-out.
    await blocker.query('begin; lock table eventing.inbox in access exclusive mode');
    const event = eventFrom(200);
    const delivering = inbox.deliver(it, event);
    const cancel = `select pg_cancel_backend(pid) as "isCancelled" from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await eventually(async () => expect(await fixture.database.sql(cancel)).toEqual([{ isCancelled: true }]));
    await eventually(async () => expect(await fixture.database.sql(cancel)).toEqual([{ isCancelled: true }]));
    await blocker.query('rollback');
    await delivering.catch(() => inbox.deliver(it, event));
  } finally {
    await blocker.end();
  }
  const states = (await deferred(it)).map(({ state, last_error }) => [state, last_error.split(':')[0]]);
  expect(states).toEqual([['dead', 'TooOldError']]);
  expect(await effects(it)).toEqual([]);
});

describe('A deferred event', () => {
  const unavailable = async () => {
    throw Object.assign(new Error('no answer'), { outage: true });
  };

  test('that has become too old stays deferred when it is delivered again', async () => {
    const it: Consumer = { ...consumer('convergent'), read: unavailable };
    await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log: silent });
    const event = eventFrom(1);
    await inbox.deliver(it, event);
    await moveHorizon(0);
    await inbox.deliver(it, event);
    await moveHorizon(90);
    expect(await deferred(it)).toMatchObject([{ state: 'failing' }]);
  });

  test('that was too old stays a dead letter when it is delivered again, also when reading fails', async () => {
    let isDown = false;
    const it: Consumer = { ...consumer('convergent'), read: async () => (isDown ? unavailable() : undefined) };
    await using inbox = start(it);
    const event = eventFrom(100);
    await inbox.deliver(it, event);
    isDown = true;
    await inbox.deliver(it, event);
    await inbox.deliver(it, event);
    isDown = false;
    await expectTooOld(it);
  });

  test('does not stand for a different event under its id, which is refused instead', async () => {
    const it: Consumer = { ...consumer('convergent'), read: unavailable };
    await using inbox = new Inbox(fixture.orm, { ownSource: '/other', log: silent });
    const event = eventFrom(1);
    await fixture.database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state)
       values ($1, $2, '/lamp', gen_random_uuid(), 7, 'lamp.inspected', 'dead')`,
      [it.name, event.eventId],
    );
    await expect(inbox.deliver(it, event)).rejects.toThrow(ConflictError);
  });

  test('that another delivery has applied is not applied again, also when reading fails', async () => {
    const it: Consumer = { ...consumer('convergent'), read: unavailable };
    const event = eventFrom(1);
    await using inbox = new Inbox(fixture.orm, { ownSource: '/other', backoffMs: 5, log: silent });
    await inbox.deliver(it, event);
    await fixture.database.sql('insert into eventing.inbox values ($1, $2)', [it.name, event.eventId]);
    inbox.start([it]);
    await eventually(async () => expect(await deferred(it)).toEqual([]));
    expect(await effects(it)).toEqual([]);
  });
});

test('an id that claims a time beyond the calendar is no fault', async () => {
  const it = consumer('convergent');
  await using inbox = start(it);
  await inbox.deliver(it, eventOf(v7(), 1, { eventId: 'ffffffff-ffff-7fff-bfff-ffffffffffff' }));
  expect(await effects(it)).toHaveLength(1);
});
