import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

const main = join(import.meta.dirname, '../../../ops/housekeeping/main.ts');

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase('lamp');
});
afterAll(() => database[Symbol.asyncDispose]());

/** Runs the command under the housekeeping role. @returns its last log entry */
async function runHousekeeping(env: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const options = { env: { ...process.env, DATABASE_URL: database.urls.housekeeping, ...env } };
  const { stdout } = await promisify(execFile)(process.execPath, [main], options);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
}

test('published messages are pruned by age, per topic and in batches', async () => {
  await database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'topic-' || n % 2, 'ALL', 0, at, at, at
       from (select n, now() - make_interval(days => case when n <= 12000 then 91 else 89 end) as at from generate_series(1, 12010) n) age`,
  );
  expect(await runHousekeeping()).toMatchObject({ msg: 'done', deleted: 12_000 });
  expect(await database.sql('select count(*)::int from eventing.published')).toEqual([{ count: 10 }]);
  expect(await runHousekeeping({ KEEP_PUBLISHED_DAYS: '30' })).toMatchObject({ deleted: 10 });
});

test('applied events are pruned by age, in batches', async () => {
  await database.sql(
    `insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type, applied_at)
     select 'c', '/other', 'a', n, gen_random_uuid(), 't', now() - make_interval(days => case when n <= 6000 then 91 else 89 end)
       from generate_series(1, 6010) n`,
  );
  expect(await runHousekeeping()).toMatchObject({ msg: 'done', applied: 6_000 });
  expect(await database.sql('select min(sequence)::int, count(*)::int from eventing.applied')).toEqual([
    { min: 6_001, count: 10 },
  ]);
});

/** Returns the partitions by name, with their bounds. */
const partitions = () =>
  database.sql<{ name: string; bounds: string }>(
    `select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bounds from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'eventing.event_store'::regclass and c.relname ~ '\\d' order by 1`,
  );

test('future partitions of the event store are created once, alike in every time zone', async () => {
  const before = await partitions();
  for (const { name } of before.slice(-5)) await database.sql(`drop table eventing.${name}`);
  expect(await runHousekeeping({ PGOPTIONS: '-c timezone=America/New_York' })).toMatchObject({ partitions: 5 });
  expect(await partitions()).toEqual(before);
  expect(await runHousekeeping({ PGOPTIONS: '-c timezone=Europe/Berlin' })).toMatchObject({
    partitions: 0,
    deleted: 0,
  });
});

test('creating partitions blocks no writer and waits for no reader', async () => {
  await database.sql(`drop table eventing.${(await partitions()).at(-1)!.name}`);
  const reader = new Client({ connectionString: database.urls.owner });
  await reader.connect();
  try {
    await reader.query(
      'begin; lock table only eventing.event_store in access share mode; lock table only eventing.event_store in row exclusive mode',
    );
    expect(await runHousekeeping()).toMatchObject({ partitions: 1 });
  } finally {
    await reader.end();
  }
});

test('a partition that cannot be created is retried in the next run, and pruning is done', async () => {
  await database.sql(`drop table eventing.${(await partitions()).at(-1)!.name}`);
  const reader = new Client({ connectionString: database.urls.owner });
  await reader.connect();
  try {
    await reader.query('begin; select from eventing.event_store_default');
    expect(await runHousekeeping()).toMatchObject({ msg: 'done', partitions: 0 });
  } finally {
    await reader.end();
  }
  expect(await runHousekeeping()).toMatchObject({ partitions: 1 });
});

test('the housekeeping role has no access to events', async () => {
  const [row] = await database.sql(
    `select has_table_privilege('lamp_housekeeping', 'eventing.event_store', 'select, insert, update, delete') as allowed`,
  );
  expect(row).toEqual({ allowed: false });
});

test('an invalid setting is named and makes the command exit with 1', async () => {
  await expect(runHousekeeping({ KEEP_PUBLISHED_DAYS: 'a week' })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('KEEP_PUBLISHED_DAYS'),
  });
});
