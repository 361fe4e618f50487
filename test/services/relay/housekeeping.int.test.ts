import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

const main = join(import.meta.dirname, '../../../services/relay/housekeeping.ts');

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase('lab');
});
afterAll(() => database[Symbol.asyncDispose]());

/** Runs the command, under the role of its own. @returns what it said last */
async function keepHouse(env: Record<string, string> = {}): Promise<Record<string, unknown>> {
  const options = { env: { ...process.env, DATABASE_URL: database.urls.housekeeping, ...env } };
  const { stdout } = await promisify(execFile)(process.execPath, [main], options);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
}

test('the log of what came back is pruned by age, topic by topic, in batches; the rest stays', async () => {
  await database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'topic-' || n % 2, 'ALL', 0, at, at, at
       from (select n, now() - make_interval(days => case when n <= 12000 then 91 else 89 end) as at from generate_series(1, 12010) n) age`,
  );
  expect(await keepHouse()).toMatchObject({ msg: 'done', deleted: 12_000 });
  expect(await database.sql('select count(*)::int from eventing.published')).toEqual([{ count: 10 }]);
  expect(await keepHouse({ KEEP_PUBLISHED_DAYS: '30' })).toMatchObject({ deleted: 10 });
});

/** The partitions by name, with their bounds. */
const partitions = () =>
  database.sql<{ name: string; bounds: string }>(
    `select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bounds from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'eventing.event_store'::regclass and c.relname ~ '\\d' order by 1`,
  );

test('the partitions that the event store will need are made, once, the same in every time zone', async () => {
  const before = await partitions();
  for (const { name } of before.slice(-5)) await database.sql(`drop table eventing.${name}`);
  expect(await keepHouse({ PGOPTIONS: '-c timezone=America/New_York' })).toMatchObject({ partitions: 5 });
  expect(await partitions()).toEqual(before);
  expect(await keepHouse({ PGOPTIONS: '-c timezone=Europe/Berlin' })).toMatchObject({ partitions: 0, deleted: 0 });
});

test('making them keeps nobody from writing, and waits for no reader', async () => {
  await database.sql(`drop table eventing.${(await partitions()).at(-1)!.name}`);
  const reader = new Client({ connectionString: database.urls.owner });
  await reader.connect();
  try {
    await reader.query(
      'begin; lock table only eventing.event_store in access share mode; lock table only eventing.event_store in row exclusive mode',
    );
    expect(await keepHouse()).toMatchObject({ partitions: 1 });
  } finally {
    await reader.end();
  }
});

test('one that cannot be made now is made another day, and the pruning is done', async () => {
  await database.sql(`drop table eventing.${(await partitions()).at(-1)!.name}`);
  const reader = new Client({ connectionString: database.urls.owner });
  await reader.connect();
  try {
    await reader.query('begin; select from eventing.event_store_default');
    expect(await keepHouse()).toMatchObject({ msg: 'done', partitions: 0 });
  } finally {
    await reader.end();
  }
  expect(await keepHouse()).toMatchObject({ partitions: 1 });
});

test('it cannot touch a fact', async () => {
  const [row] = await database.sql(
    `select has_table_privilege('lab_housekeeping', 'eventing.event_store', 'select, insert, update, delete') as allowed`,
  );
  expect(row).toEqual({ allowed: false });
});

test('a wrong setting ends it with 1 and says which', async () => {
  await expect(keepHouse({ KEEP_PUBLISHED_DAYS: 'a week' })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('KEEP_PUBLISHED_DAYS'),
  });
});
