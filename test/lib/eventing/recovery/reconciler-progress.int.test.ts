import { Reconciler } from '#eventing/reconciler';
import { ownPublisher, type Publisher } from '#eventing/republish';
import { confirm } from '../../../support/confirm.ts';
import { eventually } from '../../../support/eventually.ts';
import { lamps } from '../fixture.ts';
import {
  AFTER_MS,
  allCompared,
  app,
  close,
  confirmAll,
  consumerOf,
  fixture,
  lampWith,
  open,
  pendingForApp,
  pendingMessages,
  sequences,
  silentLog,
  TOPIC,
} from './reconciliation.ts';

// Each test has a database of its own, because all tests of one database would share the topic.
beforeEach(open);
afterEach(close);

test('two replicas request each missing event once', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await lampWith(2);
  await confirmAll();
  await using _ = start();
  await using __ = start();
  await allCompared();
  expect(sequences(await pendingForApp())).toEqual([1, 2, 3]);
});

test('concurrent requests republish an event once', async () => {
  await lampWith(0);
  const [{ event } = { event: undefined }] = await confirmAll();
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const requests: Promise<number>[] = [];
  await fixture.orm.em.fork().transactional(async (em) => {
    // Blocks both requests after they have found no message in flight.
    await em.execute('lock table eventing.outbox in share row exclusive mode');
    for (let i = 0; i < 2; i++) requests.push(own.republish([event!.eventId]));
    const blockedSessions = `select from pg_locks l join pg_database d on d.oid = l.database
                      where not l.granted and d.datname = current_database()`;
    await eventually(async () => expect(await fixture.database.sql(blockedSessions)).toHaveLength(2));
  });
  expect((await Promise.all(requests)).sort()).toEqual([0, 1]);
});

test('more than a page of messages confirmed at one moment is compared completely', async () => {
  const { consumer } = consumerOf('convergent', ['lamp.inspected']);
  const start = await app({ consumer });
  const lamp = await lampWith(1);
  await fixture.database.sql('delete from eventing.outbox');
  // Many messages that the consumer does not handle, then one that it does.
  await fixture.database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select case event_type when 'lamp.installed' then gen_random_uuid() else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end,
         e.id, 'internal', $2, 'ALL', 0, now(), now(), now()
       from eventing.event_store e, generate_series(1, case event_type when 'lamp.installed' then 1200 else 1 end)
      where aggregate_id = $1`,
    [lamp.id, TOPIC],
  );
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([2]));
  await allCompared();
});

test('a backlog without missing events is compared without pauses', async () => {
  const { consumer } = consumerOf('convergent', []);
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const calls: number[] = [];
  const watched: Publisher = {
    ...own,
    published(range) {
      calls.push(performance.now());
      return own.published(range);
    },
  };
  await app({ consumer });
  const lamp = await lampWith(0);
  await fixture.database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select gen_random_uuid(), e.id, 'internal', $2, 'ALL', 0, now(), now(), now() - interval '1 hour'
       from eventing.event_store e, generate_series(1, 1200) where aggregate_id = $1`,
    [lamp.id, TOPIC],
  );
  await fixture.database.sql(`update eventing.compared set position = '0_00000000-0000-0000-0000-000000000000'`);
  const topics = { [TOPIC]: { source: '/lamp', consumers: [consumer], publisher: watched } };
  await using _ = new Reconciler({ orm: fixture.orm, appId: 'app', topics, afterMs: 600_000, log: silentLog }).start();
  await eventually(() => expect(calls).toHaveLength(3));
  expect(Math.min(calls[1]! - calls[0]!, calls[2]! - calls[1]!)).toBeLessThan(500);
});

test('many missing events are requested in batches, without skipping any', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  const lamp = await fixture.install();
  const em = fixture.orm.em.fork();
  for (let i = 0; i < 250; i++) lamp.inspect();
  await em.persist(lamp).flush();
  await confirmAll();
  await using _ = start();
  await eventually(async () => expect(await pendingForApp()).toHaveLength(251));
});

test('a replica that starts later does not skip events that the first has not compared', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  const { promise: published, resolve: isPublished } = Promise.withResolvers<void>();
  const { promise: hasBegun, resolve: begin } = Promise.withResolvers<void>();
  const late: Publisher = {
    ...own,
    async published(range) {
      begin();
      await published;
      return own.published(range);
    },
  };
  const topics = (publisher: Publisher) => ({ [TOPIC]: { source: '/lamp', consumers: [consumer], publisher } });
  await using _ = new Reconciler({
    orm: fixture.orm,
    appId: 'app',
    topics: topics(late),
    afterMs: AFTER_MS,
    log: silentLog,
  }).start();
  await hasBegun;
  const start = await app({ consumer });
  await lampWith(0);
  await confirmAll();
  isPublished();
  await using __ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
});

test('an unreachable publisher is retried, and no event is skipped', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  let failures = 0;
  const failTwice = (part: 'published' | 'republish') => {
    if (failures++ < 2) throw new Error(`no answer to ${part}`);
  };
  const start = await app({ consumer });
  await lampWith(0);
  await confirmAll();
  const unreachable: Publisher = {
    published: async (range) => {
      failTwice('published');
      return own.published(range);
    },
    republish: async (eventIds) => {
      failTwice('republish');
      return own.republish(eventIds);
    },
  };
  await start()[Symbol.asyncDispose]();
  await fixture.database.sql('delete from eventing.outbox');
  await fixture.database.sql(`update eventing.compared set position = '0_00000000-0000-0000-0000-000000000000'`);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
  await using _ = (await app({ consumer, publisher: unreachable, log }))();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
  expect(warnings).toContain('cannot compare published and received events, retrying');
});

test('an uncommitted confirmation is awaited before its position is passed', async () => {
  const { consumer } = consumerOf('convergent');
  const own = ownPublisher(fixture.orm, { system: lamps, topic: TOPIC, target: 'app' });
  let calls = 0;
  const watched: Publisher = { ...own, published: (range) => own.published(range).finally(() => calls++) };
  const start = await app({ consumer, publisher: watched });
  await lampWith(0);
  const [late] = await pendingMessages();
  await using _ = start();
  const em = fixture.orm.em.fork();
  await em.transactional(async (tx) => {
    await tx.execute(`insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
      values ('${late!.event.messageId}', '${late!.event.eventId}', 'internal', '${TOPIC}', 'ALL', 0, now(), now())`);
    await lampWith(0);
    await confirmAllExcept(late!.event.messageId);
    // By then the message would be old enough to be requested.
    const before = calls;
    await eventually(() => expect(calls).toBeGreaterThan(before + 6));
    expect(await pendingForApp()).toEqual([]);
  });
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1, 1]));
});

async function confirmAllExcept(messageId: string): Promise<void> {
  for (const { event } of await pendingMessages())
    if (event.messageId !== messageId) await confirm(fixture.database, event.messageId);
  await fixture.database.sql('delete from eventing.outbox where id = $1', [messageId]);
}
