import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
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

test('the partitions that the event store will need are made, once', async () => {
  const [{ name } = { name: '' }] = await database.sql<{ name: string }>(
    `select max(c.relname) as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'eventing.event_store'::regclass and c.relname ~ '\\d'`,
  );
  await database.sql(`drop table eventing.${name}`);
  expect(await keepHouse()).toMatchObject({ partitions: 1 });
  expect(await keepHouse()).toMatchObject({ partitions: 0, deleted: 0 });
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
