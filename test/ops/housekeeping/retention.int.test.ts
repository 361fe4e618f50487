import { Client } from 'pg';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';
import { runHousekeeping } from './run.ts';

// What housekeeping deletes after KEEP_PUBLISHED_DAYS, 90 by default, and what it keeps.

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase('lamp');
});
afterEach(() => database[Symbol.asyncDispose]());

/** SQL of a UUIDv7 of so many days ago. */
const idFrom = (days: number) =>
  `overlay(eventing.first_id_at(now() - interval '${days} days')::text placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid`;

/** Replaces the first partition of a table by others. @param bounds days ago, the earliest first */
async function partitionBy(table: 'inbox' | 'published', ...bounds: number[]): Promise<void> {
  await database.sql(`drop table eventing.${table}_first`);
  await addPartitions(table, ...bounds);
}

async function addPartitions(table: 'inbox' | 'published', ...bounds: number[]): Promise<void> {
  const lowestIdFrom = async (days: number) =>
    (await database.sql<{ id: string }>(`select eventing.first_id_at(now() - interval '${days} days') as id`))[0]!.id;
  const ids = await Promise.all(bounds.map(lowestIdFrom));
  for (const [i, upper] of ids.slice(1).entries())
    await database.sql(
      `create table eventing.${table}_${bounds[i]}_days partition of eventing.${table} for values from ('${ids[i]}') to ('${upper}');
       alter table eventing.${table}_${bounds[i]}_days owner to lamp_owner`,
    );
}
/** @param handled days ago */
const insertApplied = (days: number, handled = days) =>
  database.sql(
    `insert into eventing.inbox (consumer, event_id, handled_at) values ('c', ${idFrom(days)}, now() - interval '${handled} days')`,
  );
const insertPublished = (created: number, published: number) =>
  database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select ${idFrom(created)}, gen_random_uuid(), 'internal', 't', 'ALL', 0, now(), now(), now() - interval '${published} days'`,
  );
const partitionsOf = async (table: string) =>
  (
    await database.sql<{ name: string }>(
      `select relname as name from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'eventing.${table}'::regclass and relname like '%days' order by 1 desc`,
    )
  ).map(({ name }) => name);
const count = async (table: string) =>
  (await database.sql<{ count: number }>(`select count(*)::int from eventing.${table}`))[0]!.count;

/** Returns how many days the inbox reaches back. */
const reach = async () =>
  (
    await database.sql<{ days: number }>(
      `select round(extract(epoch from now() - to_timestamp(('x' || left(replace(first_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)) / 86400)::int as days
         from eventing.horizon where name = 'inbox'`,
    )
  )[0]!.days;

test('inboxes are dropped by the month, and how far they reach is recorded', async () => {
  await partitionBy('inbox', 150, 120, 91, 60);
  for (const days of [140, 100, 70]) await insertApplied(days);
  expect(await runHousekeeping(database)).toMatchObject({ msg: 'done', dropped: ['inbox_150_days', 'inbox_120_days'] });
  expect(await partitionsOf('inbox')).toEqual(['inbox_91_days']);
  expect(await count('inbox')).toBe(1);
  expect(await reach()).toBe(91);
});

test('the inbox reaches as far as before while nothing is dropped, or when more is to be kept', async () => {
  await runHousekeeping(database, { KEEP_PUBLISHED_DAYS: '30' });
  expect(await reach()).toBeGreaterThan(10_000);
  await partitionBy('inbox', 60, 40, 35);
  await runHousekeeping(database, { KEEP_PUBLISHED_DAYS: '30' });
  await runHousekeeping(database, { KEEP_PUBLISHED_DAYS: '90' });
  expect(await reach()).toBe(35);
  // Such as one that somebody attached again.
  await addPartitions('inbox', 200, 150);
  expect(await runHousekeeping(database)).toMatchObject({ dropped: ['inbox_200_days'] });
  expect(await reach()).toBe(35);
});

test('a row that is written while its month is being dropped is kept', async () => {
  await partitionBy('inbox', 150, 91);
  const [holder, dropper, consumer] = ['owner', 'housekeeping', 'app'].map(
    (role) => new Client({ connectionString: database.urls[role as keyof TestDatabase['urls']] }),
  ) as [Client, Client, Client];
  await Promise.all([holder, dropper, consumer].map((it) => it.connect()));
  const waiting = async () =>
    (
      await database.sql<{ pid: number }>(
        "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      )
    ).length;
  try {
    // Stops the drop after it has looked for rows to keep, and before it drops.
    await holder.query('begin; update eventing.horizon set first_id = first_id');
    const [{ id }] = (await database.sql<{ id: string }>(`select ${idFrom(140)} as id`)) as [{ id: string }];
    // It gives up after half a second, which a slow machine may miss.
    let [hasGivenUp, isWritten] = [false, false];
    const dropping = dropper.query('select eventing.drop_oldest(90)').then(() => (hasGivenUp = true));
    await eventually(async () => expect(hasGivenUp || (await waiting()) === 1).toBe(true));
    const writing = consumer
      .query("insert into eventing.inbox (consumer, event_id) values ('late', $1)", [id])
      .then(() => (isWritten = true));
    await eventually(async () => expect(isWritten || (await waiting()) !== 1).toBe(true));
    await holder.query('commit');
    await Promise.all([dropping, writing]);
  } finally {
    await Promise.all([holder, dropper, consumer].map((it) => it.end()));
  }
  expect(await count("inbox where consumer = 'late'")).toBe(1);
});

test('confirmed messages are dropped by the month', async () => {
  await partitionBy('published', 150, 120, 91, 60);
  for (const days of [140, 100, 70]) await insertPublished(days, days);
  expect(await runHousekeeping(database)).toMatchObject({ dropped: ['published_150_days', 'published_120_days'] });
  expect(await partitionsOf('published')).toEqual(['published_91_days']);
  expect(await count('published')).toBe(1);
});

test('rows that are younger than their ids are kept when their month is dropped', async () => {
  await partitionBy('inbox', 150, 91, 60);
  await partitionBy('published', 150, 91, 60);
  // An operator had the event applied late; the message waited for its publication.
  for (const age of [80, 100]) {
    await insertApplied(140, age);
    await insertPublished(140, age);
  }
  expect(await runHousekeeping(database)).toMatchObject({ dropped: ['inbox_150_days', 'published_150_days'] });
  expect([await count('inbox'), await count('published')]).toEqual([1, 1]);
  expect([await count('inbox_default'), await count('published_default')]).toEqual([1, 1]);
});

test('rows of the default partitions are deleted by the time at which they were written', async () => {
  await partitionBy('inbox', 150, 91);
  await partitionBy('published', 150, 91);
  // Beyond the partitions, as if none had been created.
  for (const age of [91, 89]) {
    await insertApplied(400, age);
    await insertPublished(30, age);
  }
  // It claims to be young, and would be applied again.
  await insertApplied(-700, 91);
  expect(await runHousekeeping(database)).toMatchObject({ deleted: { inbox_default: 1, published_default: 1 } });
  expect([await count('inbox'), await count('published')]).toEqual([2, 1]);
});

test('a partition that is in use is dropped in the next run, and the rest is done', async () => {
  await partitionBy('inbox', 150, 91);
  const consumer = new Client({ connectionString: database.urls.app });
  await consumer.connect();
  try {
    await consumer.query('begin');
    await consumer.query("insert into eventing.inbox (consumer, event_id) values ('c', gen_random_uuid())");
    expect(await runHousekeeping(database)).toMatchObject({ msg: 'done', dropped: [] });
    expect(await reach()).toBeGreaterThan(10_000);
  } finally {
    await consumer.end();
  }
  expect(await runHousekeeping(database)).toMatchObject({ dropped: ['inbox_150_days'] });
});

test('other systems’ applied events are deleted by age, in batches', async () => {
  await database.sql(
    `insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type, applied_at)
     select 'c', '/other', 'a', n, gen_random_uuid(), 't', now() - make_interval(days => case when n <= 6000 then 91 else 89 end)
       from generate_series(1, 6010) n`,
  );
  expect(await runHousekeeping(database)).toMatchObject({ msg: 'done', deleted: { applied: 6_000 } });
  expect(await database.sql('select min(sequence)::int, count(*)::int from eventing.applied')).toEqual([
    { min: 6_001, count: 10 },
  ]);
});

describe('A deferred delivery', () => {
  // Ids of more than 91 days ago are too old to be applied.
  beforeEach(async () => {
    await partitionBy('inbox', 150, 91);
    await runHousekeeping(database);
  });
  const insert = (state: string, { days = 92, stream = "'/other'", sequence = 2, received = 91 } = {}) =>
    database.sql(
      `insert into eventing.kept_delivery (consumer, event_id, stream, aggregate_id, sequence, event_type, state, received_at)
       values ('c', ${idFrom(days)}, ${stream}, 'a', ${sequence}, 't', '${state}', now() - interval '${received} days')`,
    );
  const moveCursor = (sequence: number) =>
    database.sql(
      `insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values ('c', '/other', 'a', ${sequence})`,
    );
  const deleted = async () => ((await runHousekeeping(database)).deleted as Record<string, number>).kept_delivery;

  test.each(['early', 'failing', 'dead'])('that is %s is kept at any age', async (state) => {
    await insert(state, { received: 1_000, days: 1_000 });
    expect(await deleted()).toBe(0);
    expect(await count('kept_delivery')).toBe(1);
  });

  test('that was discarded is deleted by age', async () => {
    await insert('discarded');
    await insert('discarded', { stream: 'null', days: 0 });
    await insert('discarded', { received: 89 });
    expect(await deleted()).toBe(2);
    expect(await count('kept_delivery')).toBe(1);
  });

  test('that was discarded is kept while a redelivery of the event would be applied', async () => {
    await insert('discarded', { days: 90 });
    expect(await deleted()).toBe(0);
  });

  test('that was discarded is kept until its ordered consumer has passed it', async () => {
    await insert('discarded', { sequence: 3 });
    await moveCursor(1);
    expect(await deleted()).toBe(0);
    await database.sql('update eventing.cursor set last_sequence = 3');
    expect(await deleted()).toBe(1);
  });
});

test('events that never arrived are no longer listed when they cannot be published again', async () => {
  await database.sql(
    `insert into eventing.missing_event (app_id, topic, event_id, event_type, aggregate_id, sequence, abandoned_at)
     select 'app', 't', gen_random_uuid(), 't', 'a', 1, now() - make_interval(days => days) from unnest(array[91, 89]) days`,
  );
  expect(await runHousekeeping(database)).toMatchObject({ deleted: { missing_event: 1 } });
});

test('the housekeeping role may delete nothing else', async () => {
  const [row] = await database.sql<{ tables: string[] }>(
    `select array_agg(relname::text order by relname) as tables from pg_class
      where relnamespace = 'eventing'::regnamespace and relkind in ('r', 'p') and has_table_privilege('lamp_housekeeping', oid, 'delete, truncate, update')`,
  );
  expect(row!.tables).toEqual([
    'applied',
    'inbox_default',
    'kept_delivery',
    'missing_event',
    'published',
    'published_default',
    'published_first',
  ]);
  const [body] = await database.sql(
    "select has_column_privilege('lamp_housekeeping', 'eventing.kept_delivery', 'envelope', 'select') as allowed",
  );
  expect(body).toEqual({ allowed: false });
});
