import fc from 'fast-check';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { type Consumer, Inbox } from '#eventing/inbox';
import { discard, keepFailed, redrive } from '#eventing/kept-deliveries';
import { execute } from '#eventing/sql';
import { eventually } from '../../support/eventually.ts';
import { eventOf, type Lab, openLab } from './lab.ts';

let lab: Lab;
const log = { warn: () => undefined, error: () => undefined };
beforeAll(async () => {
  lab = await openLab();
  await lab.database.sql(
    'create table effect (n serial, consumer text, event_id uuid, sequence int); grant all on effect to lab_app; grant all on sequence effect_n_seq to lab_app',
  );
});
afterAll(() => lab[Symbol.asyncDispose]());

/** A consumer whose effect is a row, and which fails as it is told to. */
function consumer(order: Consumer['order'], fails: (event: ReceivedEvent) => void = () => undefined): Consumer {
  const name = `${order}-${uuid()}`;
  return {
    name,
    order,
    types: 'all',
    async handle(em, event) {
      await execute(em, 'insert into effect (consumer, event_id, sequence) values (?, ?, ?)', [
        name,
        event.eventId,
        event.sequence,
      ]);
      fails(event);
    },
  };
}

const effects = async ({ name }: Consumer): Promise<number[]> =>
  (
    await lab.database.sql<{ sequence: number }>('select sequence from effect where consumer = $1 order by n', [name])
  ).map((row) => row.sequence);
const kept = ({ name }: Consumer) =>
  lab.database.sql<{
    sequence: string;
    state: string;
    attempts: number;
    last_error: string;
    event_id: string;
    next_attempt_at: Date | null;
  }>('select * from eventing.kept_delivery where consumer = $1 order by sequence', [name]);

/** An inbox that tries again quickly, with the loop running. */
function started(...consumers: Consumer[]): Inbox {
  const inbox = new Inbox(lab.orm, { maxAttempts: 3, backoffMs: 5, log });
  inbox.start(consumers);
  return inbox;
}

describe.each(['convergent', 'ordered'] as const)('A %s consumer', (order) => {
  test('applies an event once, however often and however simultaneously it comes', async () => {
    const lamp = consumer(order);
    await using inbox = started(lamp);
    const event = eventOf(uuid(), 1);
    await Promise.all(Array.from({ length: 8 }, () => inbox.deliver(lamp, { ...event, messageId: uuid() })));
    await inbox.deliver(lamp, event);
    expect(await effects(lamp)).toEqual([1]);
    expect(await kept(lamp)).toEqual([]);
  });

  test('tries a failed event again until it is applied, and its failures leave no effect', async () => {
    let failures = 2;
    const lamp = consumer(order, () => {
      if (failures-- > 0) throw new Error('not yet');
    });
    await using inbox = started(lamp);
    await inbox.deliver(lamp, eventOf(uuid(), 1));
    inbox.poke();
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
    await eventually(async () => expect(await kept(lamp)).toEqual([]));
  });

  test('gives an event up as dead after its attempts, keeps it so when it comes again, and applies it once it is redriven', async () => {
    let broken = true;
    const lamp = consumer(order, () => {
      if (broken) throw new Error('cannot be handled');
    });
    await using inbox = started(lamp);
    const event = eventOf(uuid(), 1);
    await inbox.deliver(lamp, event);
    await eventually(async () => {
      inbox.poke();
      expect(await kept(lamp)).toMatchObject([{ state: 'dead', attempts: 3, last_error: 'Error: cannot be handled' }]);
    });
    broken = false;
    await inbox.deliver(lamp, event);
    expect(await effects(lamp)).toEqual([]);
    expect(await redrive(lab.orm.em.fork(), lamp.name, event.eventId)).toBe(true);
    inbox.poke();
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
    await eventually(async () => expect(await kept(lamp)).toEqual([]));
  });

  test.each([
    ['a neighbour cannot be reached', Object.assign(new Error('the neighbour is away'), { outage: true })],
    ['no connection comes free', new Error('timeout exceeded when trying to connect')],
    ['a connection breaks', new Error('Connection terminated unexpectedly')],
    ['the database is read-only after a failover', Object.assign(new Error('read-only'), { code: '25006' })],
    ['the database’s host is away', Object.assign(new Error('no route'), { code: 'EHOSTUNREACH' })],
    ['others hold a lock', new Error('driver', { cause: Object.assign(new Error('lock'), { code: '55P03' }) })],
  ])('spends no attempt while %s', async (_, error) => {
    let away = true;
    const lamp = consumer(order);
    const asking: Consumer = {
      ...lamp,
      read: async () => {
        if (away) throw error;
      },
    };
    await using inbox = started(asking);
    await inbox.deliver(asking, eventOf(uuid(), 1));
    expect(await kept(lamp)).toMatchObject([{ state: 'failing', attempts: 0 }]);
    await lab.database.sql('update eventing.kept_delivery set next_attempt_at = now() where consumer = $1', [
      lamp.name,
    ]);
    inbox.poke();
    away = false;
    await eventually(async () => expect(await effects(lamp)).toEqual([1]));
  });
});

describe('An ordered consumer', () => {
  test('applies each aggregate’s events in sequence, in whatever order and however often they come', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([1, 1, 2, 2, 3, 4, 4, 5, 6], { minLength: 9 }),
        fc.boolean(),
        async (arrivals, atOnce) => {
          const lamp = consumer('ordered');
          await using inbox = started(lamp);
          const id = uuid();
          const events = new Map([1, 2, 3, 4, 5, 6].map((sequence) => [sequence, eventOf(id, sequence)]));
          const deliver = (sequence: number) => inbox.deliver(lamp, events.get(sequence)!);
          if (atOnce) await Promise.all(arrivals.map(deliver));
          else for (const sequence of arrivals) await deliver(sequence);
          await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3, 4, 5, 6]));
        },
      ),
      { numRuns: 12 },
    );
  });

  test('asks its neighbours only for the event whose turn it is, and always for that one', async () => {
    const asked: number[] = [];
    const lamp = consumer('ordered');
    const asking: Consumer<number> = {
      ...lamp,
      read: async (event) => asked.push(event.sequence),
      handle: async (em, event, answer) => {
        expect(answer).toBeGreaterThan(0);
        await lamp.handle(em, event, answer);
      },
    };
    await using inbox = started(asking as Consumer);
    const id = uuid();
    const events = [1, 2, 3].map((sequence) => eventOf(id, sequence));
    await inbox.deliver(asking as Consumer, events[2]!);
    await inbox.deliver(asking as Consumer, events[1]!);
    expect(asked).toEqual([]);
    await inbox.deliver(asking as Consumer, events[0]!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3]));
    expect(asked).toEqual([1, 2, 3]);
  });

  test('takes an early event that met an outage before its turn when its turn comes', async () => {
    const lamp = consumer('ordered');
    await using inbox = started(lamp);
    const id = uuid();
    const [first, second, third] = [1, 2, 3].map((sequence) => eventOf(id, sequence));
    const error = Object.assign(new Error('statement time-out'), { code: '57014' });
    await keepFailed(lab.orm, lamp, second!, { error, maxAttempts: 3, backoffMs: 5 });
    await inbox.deliver(lamp, third!);
    await lab.database.sql('update eventing.kept_delivery set next_attempt_at = now() where event_id = $1', [
      second!.eventId,
    ]);
    inbox.poke();
    await eventually(async () =>
      expect(await kept(lamp)).toMatchObject([
        { sequence: '2', state: 'early', next_attempt_at: null },
        { sequence: '3', state: 'early' },
      ]),
    );
    await inbox.deliver(lamp, first!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2, 3]));
  });

  test('passes by what was discarded before its turn', async () => {
    const lamp = consumer('ordered');
    await using inbox = started(lamp);
    const id = uuid();
    const [first, second, third, fourth] = [1, 2, 3, 4].map((sequence) => eventOf(id, sequence));
    for (const event of [second!, third!]) {
      await keepFailed(lab.orm, lamp, event, { error: new Error('no'), maxAttempts: 1, backoffMs: 5 });
      expect(await discard(lab.orm.em.fork(), lamp, event.eventId)).toBe(true);
    }
    await inbox.deliver(lamp, fourth!);
    await inbox.deliver(lamp, first!);
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 4]));
  });

  test('holds up only the aggregate whose event fails, and moves on when an operator discards it', async () => {
    const [bad, good] = [uuid(), uuid()];
    const lamp = consumer('ordered', (event) => {
      if (event.aggregateId === bad && event.sequence === 1) throw new Error('poison');
    });
    await using inbox = started(lamp);
    const poison = eventOf(bad, 1);
    await inbox.deliver(lamp, poison);
    await inbox.deliver(lamp, eventOf(bad, 2));
    await inbox.deliver(lamp, eventOf(good, 1));
    await eventually(async () => {
      inbox.poke();
      expect(await kept(lamp)).toMatchObject([
        { sequence: '1', state: 'dead' },
        { sequence: '2', state: 'early' },
      ]);
    });
    expect(await effects(lamp)).toEqual([1]);

    expect(await discard(lab.orm.em.fork(), lamp, poison.eventId)).toBe(true);
    inbox.poke();
    await eventually(async () => expect(await effects(lamp)).toEqual([1, 2]));
    await eventually(async () => expect(await kept(lamp)).toMatchObject([{ sequence: '1', state: 'discarded' }]));
  });

  test('moves on past events that it does not act on', async () => {
    const lamp = { ...consumer('ordered'), types: ['lamp.removed'] };
    await using inbox = started(lamp);
    const id = uuid();
    await inbox.deliver(lamp, eventOf(id, 2, { type: 'lamp.removed' }));
    await inbox.deliver(lamp, eventOf(id, 1));
    await eventually(async () => expect(await effects(lamp)).toEqual([2]));
  });
});

test('a consumer whose neighbour does not answer holds up no other', async () => {
  const hanging = Promise.withResolvers<void>();
  const waits: Consumer = { ...consumer('convergent'), read: () => hanging.promise };
  let failures = 1;
  const goesOn = consumer('convergent', () => {
    if (failures-- > 0) throw new Error('not yet');
  });
  const event = eventOf(uuid(), 1);
  await lab.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, state, next_attempt_at, envelope) values ($1, $2, 'failing', now(), $3)`,
    [waits.name, event.eventId, JSON.stringify(event)],
  );
  await using inbox = started(waits, goesOn);
  await inbox.deliver(goesOn, eventOf(uuid(), 1));
  await eventually(async () => {
    inbox.poke();
    expect(await effects(goesOn)).toEqual([1]);
  });
  expect(await effects(waits)).toEqual([]);
  hanging.resolve();
  await eventually(async () => expect(await effects(waits)).toEqual([1]));
});

test('a kept delivery that its consumer does not act on any more is forgotten', async () => {
  const lamp = { ...consumer('convergent'), types: ['lamp.removed'] };
  const event = eventOf(uuid(), 1);
  await lab.database.sql(
    `insert into eventing.kept_delivery (consumer, event_id, state, next_attempt_at, envelope) values ($1, $2, 'failing', now(), $3)`,
    [lamp.name, event.eventId, JSON.stringify(event)],
  );
  await using _ = started(lamp);
  await eventually(async () => expect(await kept(lamp)).toEqual([]));
  expect(await effects(lamp)).toEqual([]);
});

test('two processes that share a consumer apply each event once between them', async () => {
  const lamp = consumer('ordered', () => {
    if (Math.random() < 0.2) throw Object.assign(new Error('now and then'), { outage: true });
  });
  await using one = started(lamp);
  await using other = started(lamp);
  const ids = [uuid(), uuid(), uuid()];
  const events = ids.flatMap((id) => [1, 2, 3, 4, 5].map((sequence) => eventOf(id, sequence)));
  await Promise.all(events.flatMap((event) => [one.deliver(lamp, event), other.deliver(lamp, event)]));
  const rush = async () => {
    await lab.database.sql(
      `update eventing.kept_delivery set next_attempt_at = now() where consumer = $1 and state = 'failing'`,
      [lamp.name],
    );
    one.poke();
    expect((await effects(lamp)).length).toBe(15);
  };
  await eventually(rush, { timeoutMs: 20_000 });
  const rows = await lab.database.sql(
    'select count(distinct event_id)::int as events from effect where consumer = $1',
    [lamp.name],
  );
  expect(rows).toEqual([{ events: 15 }]);
});
