import { Client } from 'pg';
import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#process/database';
import { confirm } from '../../support/confirm.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';
import { openFixture } from './fixture.ts';

// Migration Eventing0010Partitions turns tables with rows into partitioned ones, under the writes of the last release.

const MIGRATIONS = eventingMigrations({ roles: 'lamp' });
const ROWS = 10_000;

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase('lamp');
  await database.sql('drop schema eventing cascade; delete from migration');
  await migrateTo(9);
});
afterEach(() => database[Symbol.asyncDispose]());

const migrateTo = (count: number) =>
  migrate({ url: database.urls.owner, migrations: MIGRATIONS.slice(0, count), print: () => undefined });

/** Fills the inbox and the confirmed messages. @param id SQL of the ids */
const fill = (id: string) =>
  database.sql(`
    insert into eventing.inbox (consumer, event_id) select 'c' || n % 3, ${id} from generate_series(1, ${ROWS}) n;
    insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
      select ${id}, gen_random_uuid(), 'internal', 'lamp-internal', 'ALL', 0, now(), now() from generate_series(1, ${ROWS}) n`);
/** SQL of the UUIDv7 of a moment. */
const idAt = (moment: string) =>
  `overlay(eventing.first_id_at(${moment})::text placing '7' || substr(gen_random_uuid()::text, 16) from 15)::uuid`;
const OF_LAST_YEAR = idAt("now() - n * interval '10 minutes'");

/** Returns how many rows each partition has. */
async function rowsOf(table: string): Promise<Record<string, number>> {
  const rows = await database.sql<{ name: string; count: number }>(
    `select tableoid::regclass::text as name, count(*)::int from eventing.${table} group by 1 order by 1`,
  );
  return Object.fromEntries(rows.map(({ name, count }) => [name.replace('eventing.', ''), count]));
}

test('the tables become the first partitions, and no row is copied', async () => {
  await fill(OF_LAST_YEAR);
  const files = () =>
    database.sql(`select pg_relation_filenode(oid) as file from pg_class where relname ~ '^(inbox|published)(_first)?$'
      and relkind = 'r' order by relname`);
  const before = await files();
  await migrateTo(10);
  expect([await rowsOf('inbox'), await rowsOf('published')]).toEqual([
    { inbox_first: ROWS },
    { published_first: ROWS },
  ]);
  expect(await files()).toEqual(before);
});

test('rows of ids that are not UUIDv7 are deleted, because such events are refused from now on', async () => {
  await fill(OF_LAST_YEAR);
  await database.sql(
    "insert into eventing.inbox (consumer, event_id) values ('c', 'e68d2a5a-72f4-4b43-9b6c-5d8f6b0d9f11')",
  );
  await migrateTo(10);
  expect(await rowsOf('inbox')).toEqual({ inbox_first: ROWS });
});

test('a bound that an interrupted run has left long ago is replaced', async () => {
  await database.sql(`do $$ begin
    execute format('alter table eventing.inbox add constraint inbox_bound check (event_id < %L)', eventing.first_id_at(now() - interval '1 month'));
  end $$`);
  await migrateTo(10);
  await database.sql(`insert into eventing.inbox (consumer, event_id) select 'c', ${idAt('now()')}`);
  expect(await rowsOf('inbox')).toEqual({ inbox_first: 1 });
});

test('the months are those of UTC, whatever the database’s time zone', async () => {
  await database.sql(
    `do $$ begin execute format('alter database %I set timezone = %L', current_database(), 'America/New_York'); end $$`,
  );
  await migrateTo(10);
  const [row] = await database.sql<{ bounds: string }>(
    "select pg_get_expr(relpartbound, oid) as bounds from pg_class where relname = 'inbox_first'",
  );
  const [month] = await database.sql<{ id: string }>(
    "select eventing.first_id_at((date_trunc('month', now() at time zone 'UTC') + interval '2 months') at time zone 'UTC') as id",
  );
  expect(row!.bounds).toBe(`FOR VALUES FROM (MINVALUE) TO ('${month!.id}')`);
});

test('rows of each coming month get a partition of their own', async () => {
  await migrateTo(10);
  await fill(idAt(`now() + n % 5 * interval '1 month'`));
  const names = Object.keys(await rowsOf('published'));
  expect(names).toEqual([
    expect.stringMatching(/^published_\d{4}_\d\d$/),
    expect.stringMatching(/^published_\d{4}_\d\d$/),
    'published_default',
    'published_first',
  ]);
});

test('writes of the last release go on during the migration, and each row is there afterwards', async () => {
  await fill(OF_LAST_YEAR);
  const writer = new Client({ connectionString: database.urls.app });
  await writer.connect();
  let [written, isDone] = [0, false];
  const writing = (async () => {
    while (!isDone) {
      const inserted = await writer.query(
        'insert into eventing.inbox (consumer, event_id) select $1, $2::uuid on conflict do nothing returning event_id',
        ['writer', (await database.sql<{ id: string }>(`select ${idAt('clock_timestamp()')} as id`))[0]!.id],
      );
      written += inserted.rowCount!;
    }
  })();
  try {
    await eventually(() => expect(written).toBeGreaterThan(10));
    await migrateTo(10);
    const before = written;
    await eventually(() => expect(written).toBeGreaterThan(before + 10));
  } finally {
    isDone = true;
    await writing;
    await writer.end();
  }
  const [row] = await database.sql("select count(*)::int from eventing.inbox where consumer = 'writer'");
  expect(row).toEqual({ count: written });
});

test('a migration that waits too long for a transaction fails, and the next run completes it', async () => {
  await fill(OF_LAST_YEAR);
  const reader = new Client({ connectionString: database.urls.app });
  await reader.connect();
  try {
    await reader.query('begin; select from eventing.published limit 1');
    await expect(migrateTo(10)).rejects.toThrow('lock timeout');
  } finally {
    await reader.end();
  }
  await migrateTo(10);
  expect([await rowsOf('inbox'), await rowsOf('published')]).toEqual([
    { inbox_first: ROWS },
    { published_first: ROWS },
  ]);
});

test('messages are confirmed once and found afterwards', async () => {
  await using fixture = await openFixture();
  const [{ id }] = (await fixture.database.sql<{ id: string }>(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select id, gen_random_uuid(), 'internal', 'lamp-internal', 'k', '{}' from (select ${idAt('now()')} as id) n returning id`,
  )) as [{ id: string }];
  await confirm(fixture.database, id);
  await confirm(fixture.database, id);
  expect(
    await fixture.database.sql(
      'select state from eventing.delivery, lateral (select published_at is not null as state) s',
    ),
  ).toEqual([{ state: true }]);
});
