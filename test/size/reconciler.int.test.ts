import { Client } from 'pg';
import { Reconciler } from '#eventing/reconciler';
import { ownPublisher } from '#eventing/republish';
import { lamps } from '../lib/eventing/fixture.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { eventually } from '../support/eventually.ts';
import { ExplainingLease, explainingOrm, explainStatements, LIMIT, ROWS } from './explain.ts';

// A step of the reconciler reads a page of each table, however many events were published, applied, deferred or never arrived.
const TOPIC = 'lamp-internal';
const APP_ID = 'app';
const PAGE = 500;
/** Of the first page. */
const MISSING = 3;

let database: TestDatabase;
let client: Client;
let lease: ExplainingLease;
beforeAll(async () => {
  database = await createTestDatabase('lamp');
  await explainStatements(database);
  await fill();
  client = new Client(database.urls.app);
  await client.connect();
  lease = new ExplainingLease(client);
}, LIMIT);
afterAll(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

/** Events published one millisecond after the other; all but a few of the first page were applied by both consumers. */
async function fill(): Promise<void> {
  const idAt = (
    ms: string,
  ) => `overlay(eventing.first_id_at(now() - interval '1 hour' - (${ROWS} - ${ms}) * interval '1 ms')::text
    placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid`;
  const tables = {
    event_store: `select id, 'lamp', aggregate_id, 1, 'lamp.installed', '{}', null, 'lamp', 'system', '' from event`,
    published: `select message_id, id, 'internal', '${TOPIC}', 'ALL', 0, now(), now(), now() - interval '1 hour' - (${ROWS} - n) * interval '1 ms'
      from event`,
    inbox: `select 'convergent', id from event where n > ${MISSING}`,
    cursor: `select 'ordered', '/lamp', aggregate_id, 1 from event where n > ${MISSING}`,
    kept_delivery: `select consumer, gen_random_uuid(), '/lamp', gen_random_uuid(), 3, 'lamp.installed', 'early', 0, null, null, '{}'
      from event, (values ('ordered'), ('convergent')) of(consumer) where n % 2 = 0`,
    missing_event: `select '${APP_ID}', '${TOPIC}', id, 'lamp.installed', aggregate_id, 1 from event`,
    outbox: `select message_id, gen_random_uuid(), 'internal', '${TOPIC}', aggregate_id::text, '${APP_ID}', '{}' from event`,
    relayed: `select gen_random_uuid(), gen_random_uuid(), 'internal', '${TOPIC}', aggregate_id::text, 1, '${APP_ID}', '{}', 0, now(), now(), 1, now()
      from event`,
  };
  const columns: Partial<Record<keyof typeof tables, string>> = {
    event_store: `(id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent)`,
    inbox: '(consumer, event_id)',
    outbox: '(id, event_id, channel, topic, ordering_key, target, envelope)',
    missing_event: '(app_id, topic, event_id, event_type, aggregate_id, sequence)',
  };
  await database.sql(`create table event as select n, ${idAt('n')} as id, ${idAt('n')} as message_id, gen_random_uuid() as aggregate_id
    from generate_series(1, ${ROWS}) n`);
  for (const [table, rows] of Object.entries(tables))
    await database.sql(`insert into eventing.${table} ${columns[table as keyof typeof tables] ?? ''} ${rows}`);
  await database.sql(`
    insert into eventing.compared (app_id, topic, position) values ('${APP_ID}', '${TOPIC}', '0_00000000-0000-0000-0000-000000000000');
    insert into eventing.heard (app_id, topic, heard_at) values ('${APP_ID}', '${TOPIC}', now());
    analyze`);
}

test(
  'a step of the reconciler reads a page of each table',
  async () => {
    const orm = explainingOrm(lease);
    const requested: object[] = [];
    const log = { warn: (fields: object) => void requested.push(fields), error: () => undefined };
    const publisher = ownPublisher(orm, { system: lamps, topic: TOPIC, target: APP_ID });
    const consumers = (['ordered', 'convergent'] as const).map((order) => ({
      name: order,
      order,
      types: 'all' as const,
    }));
    const topics = { [TOPIC]: { source: '/lamp', consumers, publisher } };
    const position = async () =>
      (await database.sql<{ position: string }>('select position from eventing.compared'))[0]!.position;
    const before = await position();
    const reconciler = new Reconciler({ orm, appId: APP_ID, topics, afterMs: 60_000, log }).start();
    try {
      await eventually(async () => expect(await position()).not.toBe(before), { timeoutMs: 60_000 });
    } finally {
      await reconciler[Symbol.asyncDispose]();
    }
    expect(requested).toEqual([{ topic: TOPIC, events: MISSING }]);
    const [waiting] = await database.sql(
      "select count(*)::int from eventing.outbox where created_at > now() - interval '1 minute' and envelope <> '{}'",
    );
    expect(waiting).toEqual({ count: MISSING });
    expect(lease.costs.length).toBeGreaterThan(10);
    const large = await database.sql<{ name: string }>(
      "select relname as name from pg_class where relnamespace = 'eventing'::regnamespace and relkind = 'r' and reltuples > 1000",
    );
    const full = large.map(({ name }) => name);
    expect(full.length).toBeGreaterThanOrEqual(8);
    expect(lease.costs.filter(({ scanned }) => scanned.some((table) => full.includes(table)))).toEqual([]);
    expect(lease.costs.filter(({ read }) => read > 3 * PAGE + 100)).toEqual([]);
    expect(lease.costs.filter(({ buffers }) => buffers > 20_000)).toEqual([]);
  },
  LIMIT,
);
