import { v7 as uuid } from 'uuid';
import { type ReceivedEvent, readEnvelope } from '#eventing/cloud-event';
import { type Consumer, Inbox } from '#eventing/inbox';
import { Recorder } from '#eventing/recorder';
import { Repair, type RepairOptions } from '#eventing/repair';
import { ownPublisher, type Publisher } from '#eventing/republish';
import { eventually } from '../../support/eventually.ts';
import { type Lab, type Lamp, lamps, openLab } from './lab.ts';

// A topic has what all tests of a database publish there: each has one of its own.
let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

const TOPIC = 'lamp-internal';
const AFTER_MS = 100;
const quietly = { warn: () => undefined, error: () => undefined };

const consumerOf = (order: Consumer['order'], types: Consumer['types'] = 'all') => {
  const applied: string[] = [];
  const handle = async (_: unknown, event: ReceivedEvent) => void applied.push(`${event.sequence} ${event.type}`);
  return { consumer: { name: `app-${order}`, order, types, handle } satisfies Consumer, applied };
};

interface AppOptions {
  consumer: Consumer;
  publisher?: Publisher;
  log?: RepairOptions['log'];
  /** Whether it has heard something just now. */
  hears?: boolean;
}

/** Compares as an app that has done so before. */
async function app({ consumer, publisher, log = quietly, hears = true }: AppOptions) {
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const start = () =>
    new Repair({
      orm: lab.orm,
      appId: 'app',
      topics: { [TOPIC]: { source: '/lamp', consumers: [consumer], publisher: publisher ?? own } },
      afterMs: AFTER_MS,
      log,
    }).start();
  await using _ = start();
  await eventually(async () => expect(await position()).not.toBeNull());
  if (hears) await heard(null);
  return start;
}

async function position(): Promise<string | null> {
  const [row] = await lab.database.sql<{ position: string | null }>('select position from eventing.compared');
  return row?.position ?? null;
}

/** Notes that the app hears, for as long as a test takes. @param messageId the last it has heard; null for what is unknown to all */
async function heard(messageId: string | null): Promise<void> {
  await lab.database.sql(`update eventing.heard set heard_at = 'infinity'`);
  await lab.database.sql('update eventing.compared set message_id = $1', [messageId]);
}
const fallsSilent = () => lab.database.sql(`update eventing.heard set heard_at = '-infinity'`);

interface Waiting {
  target: string;
  event: ReceivedEvent;
  envelope: Record<string, unknown>;
}
async function waiting(): Promise<Waiting[]> {
  const rows = await lab.database.sql<{ envelope: Record<string, unknown> }>(
    'select envelope from eventing.outbox order by position',
  );
  return rows.map(({ envelope }) => ({ target: String(envelope.target), event: readEnvelope(envelope), envelope }));
}

/** What waits is published and comes back. */
async function comesBack(): Promise<Waiting[]> {
  const messages = await waiting();
  const recorder = new Recorder(lab.orm);
  for (const { event } of messages) await recorder.cameBack(event.messageId);
  return messages;
}

async function stated(inspections: number): Promise<Lamp> {
  const lamp = await lab.install();
  for (let i = 0; i < inspections; i++) {
    lamp.inspect(`reason ${i}`);
    await lab.orm.em.fork().persist(lamp).flush();
  }
  return lamp;
}

const toApp = async () => (await waiting()).filter(({ target }) => target === 'app');
const sequences = (messages: Waiting[]) => messages.map(({ event }) => event.sequence);
/** All that has come back so far has been compared. */
async function allCompared(): Promise<void> {
  await eventually(async () => {
    const [{ done } = { done: false }] = await lab.database.sql<{ done: boolean }>(
      `select split_part(position, '_', 2)::uuid = p.id as done
         from eventing.compared, (select id from eventing.published order by published_at desc, id desc limit 1) p`,
    );
    expect(done).toBe(true);
  });
}

test('an event that came back and never arrived is published again, as it was, to the app that lacks it alone', async () => {
  const { consumer, applied } = consumerOf('convergent');
  await using _ = (await app({ consumer }))();
  await stated(1);
  const published = await comesBack();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1, 2]));
  const again = await toApp();
  const { id: _id, target: _target, ...same } = published[1]!.envelope;
  expect(again[1]!.envelope).toMatchObject(same);
  expect(Object.keys(again[1]!.envelope).sort()).toEqual(Object.keys(published[1]!.envelope).sort());
  expect(again[1]!.event.messageId).not.toBe(published[1]!.event.messageId);
  await using inbox = new Inbox(lab.orm, { log: quietly });
  for (const { event } of await comesBack()) await inbox.deliver(consumer, event);
  await allCompared();
  expect(await waiting()).toEqual([]);
  expect(applied).toEqual(['1 lamp.installed', '2 lamp.inspected']);
});

test('an ordered consumer that waits for a lost event gets it, and goes on', async () => {
  const { consumer, applied } = consumerOf('ordered');
  const start = await app({ consumer });
  await stated(2);
  const [, , third] = await comesBack();
  await using inbox = new Inbox(lab.orm, { log: quietly });
  inbox.start([consumer]);
  await inbox.deliver(consumer, third!.event);
  expect(applied).toEqual([]);
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1, 2]));
  for (const { event } of await comesBack()) await inbox.deliver(consumer, event);
  await eventually(() => expect(applied).toEqual(['1 lamp.installed', '2 lamp.inspected', '3 lamp.inspected']));
});

test('what is known is not asked for: applied, kept, given up, or none of the consumer’s', async () => {
  const { consumer } = consumerOf('convergent', ['lamp.inspected']);
  const start = await app({ consumer });
  await stated(4);
  const [, second, third, fourth] = await comesBack();
  await using inbox = new Inbox(lab.orm, { log: quietly });
  await inbox.deliver(consumer, second!.event);
  for (const [{ event }, state] of [[third!, 'dead'] as const, [fourth!, 'discarded'] as const])
    await lab.database.sql('insert into eventing.kept_delivery (consumer, event_id, state) values ($1, $2, $3)', [
      consumer.name,
      event.eventId,
      state,
    ]);
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([5]));
});

test('what came back after the message that was heard last may be on its way', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await stated(3);
  const [, second] = await comesBack();
  await heard(second!.event.messageId);
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
  await heard(null);
  await eventually(async () => expect(sequences(await toApp())).toEqual([1, 2, 3, 4]));
});

test('who has heard nothing for long is sent the oldest alone; once that is heard, the rest', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await stated(3);
  await comesBack();
  await fallsSilent();
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
  const [probe] = await comesBack();
  // It is lost as well.
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
  await comesBack();
  await using inbox = new Inbox(lab.orm, { log: quietly });
  await inbox.deliver(consumer, probe!.event);
  await heard(probe!.event.messageId);
  // Until then it may have been sent the oldest once more.
  const others = async () => sequences(await toApp()).filter((sequence) => sequence > 1);
  await eventually(async () => expect(await others()).toEqual([2, 3, 4]));
});

test('what was sent again and is lost as well is sent again once more, in the end given up with a loud word, and holds up nothing', async () => {
  const { consumer } = consumerOf('convergent');
  const errors: object[] = [];
  const log = { ...quietly, error: (fields: object) => void errors.push(fields) };
  await using _ = (await app({ consumer, log }))();
  const lamp = await stated(0);
  const [{ event } = { event: undefined }] = await comesBack();
  for (let time = 1; time <= 3; time++) {
    await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
    await comesBack();
  }
  await eventually(() => expect(errors).toMatchObject([{ eventId: event!.eventId }]));
  lamp.inspect();
  await lab.orm.em.fork().persist(lamp).flush();
  await comesBack();
  await eventually(async () => expect(sequences(await toApp())).toEqual([2]));
});

test('two replicas have it published once', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await stated(2);
  await comesBack();
  await using _ = start();
  await using __ = start();
  await allCompared();
  expect(sequences(await toApp())).toEqual([1, 2, 3]);
});

test('whoever asks at the same moment has it published once between them', async () => {
  await stated(0);
  const [{ event } = { event: undefined }] = await comesBack();
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const asked: Promise<number>[] = [];
  await lab.orm.em.fork().transactional(async (em) => {
    // Whoever has found that nothing is under way cannot go on yet.
    await em.execute('lock table eventing.outbox in share row exclusive mode');
    for (let i = 0; i < 2; i++) asked.push(own.republish([event!.eventId]));
    const waiting = `select from pg_locks l join pg_database d on d.oid = l.database
                      where not l.granted and d.datname = current_database()`;
    await eventually(async () => expect(await lab.database.sql(waiting)).toHaveLength(2));
  });
  expect((await Promise.all(asked)).sort()).toEqual([0, 1]);
});

test('more than a page is compared to its end, also when all of it came back at one moment', async () => {
  const { consumer } = consumerOf('convergent', ['lamp.inspected']);
  const start = await app({ consumer });
  const lamp = await stated(1);
  await lab.database.sql('delete from eventing.outbox');
  // Many of which none concerns the consumer, and at the end one that does.
  await lab.database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select case event_type when 'lamp.installed' then gen_random_uuid() else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end,
         e.id, 'internal', $2, 'ALL', 0, now(), now(), now()
       from eventing.event_store e, generate_series(1, case event_type when 'lamp.installed' then 1200 else 1 end)
      where aggregate_id = $1`,
    [lamp.id, TOPIC],
  );
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([2]));
  await allCompared();
});

test('what lies behind is compared without a pause where nothing is missing', async () => {
  const { consumer } = consumerOf('convergent', []);
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const looks: number[] = [];
  const watched: Publisher = {
    ...own,
    published(range) {
      looks.push(performance.now());
      return own.published(range);
    },
  };
  await app({ consumer });
  const lamp = await stated(0);
  await lab.database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select gen_random_uuid(), e.id, 'internal', $2, 'ALL', 0, now(), now(), now() - interval '1 hour'
       from eventing.event_store e, generate_series(1, 1200) where aggregate_id = $1`,
    [lamp.id, TOPIC],
  );
  await lab.database.sql(`update eventing.compared set position = '0_00000000-0000-0000-0000-000000000000'`);
  const topics = { [TOPIC]: { source: '/lamp', consumers: [consumer], publisher: watched } };
  await using _ = new Repair({ orm: lab.orm, appId: 'app', topics, afterMs: 600_000, log: quietly }).start();
  await eventually(() => expect(looks).toHaveLength(3));
  expect(Math.min(looks[1]! - looks[0]!, looks[2]! - looks[1]!)).toBeLessThan(500);
});

test('much that is missing is asked for bit by bit, and nothing is passed over', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  const lamp = await lab.install();
  const em = lab.orm.em.fork();
  for (let i = 0; i < 250; i++) lamp.inspect();
  await em.persist(lamp).flush();
  await comesBack();
  await using _ = start();
  await eventually(async () => expect(await toApp()).toHaveLength(251));
});

test('a replica that begins later does not pass over what the first one has begun with', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const { promise: published, resolve: isPublished } = Promise.withResolvers<void>();
  const { promise: begins, resolve: beginning } = Promise.withResolvers<void>();
  const late: Publisher = {
    ...own,
    async published(range) {
      beginning();
      await published;
      return own.published(range);
    },
  };
  const topics = (publisher: Publisher) => ({ [TOPIC]: { source: '/lamp', consumers: [consumer], publisher } });
  await using _ = new Repair({
    orm: lab.orm,
    appId: 'app',
    topics: topics(late),
    afterMs: AFTER_MS,
    log: quietly,
  }).start();
  await begins;
  const start = await app({ consumer });
  await stated(0);
  await comesBack();
  isPublished();
  await using __ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
});

test('an app that is new asks for nothing that was published before it came', async () => {
  const { consumer } = consumerOf('convergent');
  await stated(2);
  await comesBack();
  await using _ = (await app({ consumer }))();
  const lamp = await stated(0);
  await comesBack();
  await eventually(async () => expect((await toApp()).map(({ event }) => event.aggregateId)).toEqual([lamp.id]));
});

test('a publisher that cannot be asked is asked again, and nothing is passed over', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  let refusals = 0;
  const refuse = (part: 'published' | 'republish') => {
    if (refusals++ < 2) throw new Error(`no answer to ${part}`);
  };
  const start = await app({ consumer });
  await stated(0);
  await comesBack();
  const unreachable: Publisher = {
    published: async (range) => {
      refuse('published');
      return own.published(range);
    },
    republish: async (eventIds) => {
      refuse('republish');
      return own.republish(eventIds);
    },
  };
  await start()[Symbol.asyncDispose]();
  await lab.database.sql('delete from eventing.outbox');
  await lab.database.sql(`update eventing.compared set position = '0_00000000-0000-0000-0000-000000000000'`);
  const warnings: string[] = [];
  const log = { ...quietly, warn: (_: object, message: string) => void warnings.push(message) };
  await using _ = (await app({ consumer, publisher: unreachable, log }))();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
  expect(warnings).toContain('cannot tell now whether all that was published has arrived');
});

test('a recorder that has not committed yet is waited for', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(lab.orm, { system: lamps, topic: TOPIC, target: 'app' });
  let looks = 0;
  const watched: Publisher = { ...own, published: (range) => own.published(range).finally(() => looks++) };
  const start = await app({ consumer, publisher: watched });
  await stated(0);
  const [late] = await waiting();
  await using _ = start();
  const em = lab.orm.em.fork();
  await em.transactional(async (tx) => {
    await tx.execute(`insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
      values ('${late!.event.messageId}', '${late!.event.eventId}', 'internal', '${TOPIC}', 'ALL', 0, now(), now())`);
    await stated(0);
    await comesBackExcept(late!.event.messageId);
    // By then it would be old enough.
    const before = looks;
    await eventually(() => expect(looks).toBeGreaterThan(before + 6));
    expect(await toApp()).toEqual([]);
  });
  await eventually(async () => expect(sequences(await toApp())).toEqual([1, 1]));
});

async function comesBackExcept(messageId: string): Promise<void> {
  const recorder = new Recorder(lab.orm);
  for (const { event } of await waiting()) if (event.messageId !== messageId) await recorder.cameBack(event.messageId);
  await lab.database.sql('delete from eventing.outbox where id = $1', [messageId]);
}

test('a heard message that nobody knows says nothing', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await stated(0);
  await comesBack();
  await heard(uuid());
  await using _ = start();
  await eventually(async () => expect(sequences(await toApp())).toEqual([1]));
});
