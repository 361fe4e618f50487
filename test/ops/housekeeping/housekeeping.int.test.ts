import { Client } from 'pg';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { runHousekeeping } from './run.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase('lamp');
});
afterAll(() => database[Symbol.asyncDispose]());

/** Returns the partitions by name, with their bounds. */
const partitions = () =>
  database.sql<{ name: string; bounds: string }>(
    `select c.relname as name, pg_get_expr(c.relpartbound, c.oid) as bounds from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'eventing.event_store'::regclass and c.relname ~ '\\d' order by 1`,
  );

test('future partitions of the event store are created once, alike in every time zone', async () => {
  const before = await partitions();
  for (const { name } of before.slice(-5)) await database.sql(`drop table eventing.${name}`);
  expect(await runHousekeeping(database, { PGOPTIONS: '-c timezone=America/New_York' })).toMatchObject({
    partitions: 5,
  });
  expect(await partitions()).toEqual(before);
  expect(await runHousekeeping(database, { PGOPTIONS: '-c timezone=Europe/Berlin' })).toMatchObject({
    partitions: 0,
    dropped: [],
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
    expect(await runHousekeeping(database)).toMatchObject({ partitions: 1 });
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
    expect(await runHousekeeping(database)).toMatchObject({ msg: 'done', partitions: 0 });
  } finally {
    await reader.end();
  }
  expect(await runHousekeeping(database)).toMatchObject({ partitions: 1 });
});

test('the housekeeping role has no access to events', async () => {
  const [row] = await database.sql(
    `select has_table_privilege('lamp_housekeeping', 'eventing.event_store', 'select, insert, update, delete') as allowed`,
  );
  expect(row).toEqual({ allowed: false });
});

test('an invalid setting is named and makes the command exit with 1', async () => {
  await expect(runHousekeeping(database, { KEEP_PUBLISHED_DAYS: 'a week' })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('KEEP_PUBLISHED_DAYS'),
  });
});
