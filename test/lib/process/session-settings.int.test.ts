import { Migration } from '@mikro-orm/migrations';
import type { MikroORM } from '@mikro-orm/postgresql';
import { connect, migrate } from '#process/database';
import { toProblem } from '../../../lib/http/problem.ts';
import { createDatabase, databaseRoles, type SystemUrls } from '../../../ops/create-database/create-database.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPooler } from './pooler.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase('lamp');
});
afterAll(() => database[Symbol.asyncDispose]());
afterEach(async () => {
  await database.sql(`alter database ${name()} reset all`);
  for (const url of [database.urls.app, database.urls.owner])
    await database.sql(`alter role ${new URL(url).username} in database ${name()} reset all`);
});
const name = (url = database.urls.app) => new URL(url).pathname.slice(1);
const app = () => new URL(database.urls.app).username;

const wrong: [setting: string, value: string][] = [
  ['DateStyle', 'German'],
  ['default_transaction_isolation', "'repeatable read'"],
  ['extra_float_digits', '-10'],
  ['idle_in_transaction_session_timeout', '0'],
  ['search_path', 'elsewhere'],
  ['standard_conforming_strings', 'off'],
  ['statement_timeout', '0'],
  ['synchronous_commit', 'off'],
];
const harmless: [setting: string, value: string][] = [
  ['array_nulls', 'off'],
  ['bytea_output', 'escape'],
  ['client_encoding', 'LATIN1'],
  ['IntervalStyle', 'iso_8601'],
  ['TimeZone', "'Asia/Kolkata'"],
  ['xmloption', 'document'],
];
/** A query whose answer each of the settings above would change. */
const ANSWER = `
select timestamptz '2026-03-04T05:06:07.089Z' as at, (timestamptz '2026-03-04T05:06:07.089Z')::text::timestamptz as "atText",
  1234567890::float8 as number, decode('00ff', 'hex') as bytes, 'a\\b한' as text, '{a,"NULL"}'::text[] as list,
  current_setting('transaction_isolation') as isolation, current_setting('synchronous_commit') as commit, current_schema() as schema,
  current_setting('statement_timeout') as statement, current_setting('idle_in_transaction_session_timeout') as idle`;

async function answer(url: string): Promise<unknown> {
  await using stack = new AsyncDisposableStack();
  return await answerOf(stack.adopt(await connect({ url }), (orm) => orm.close(true)));
}

async function answerOf(orm: MikroORM): Promise<unknown> {
  const [row] = await orm.em.fork().execute<[{ at: string; atText: string }]>(ANSWER);
  // Moments are compared independent of the time zone.
  return { ...row, at: new Date(row.at), atText: new Date(row.atText) };
}
let expected: unknown;
beforeAll(async () => {
  expected = await answer(database.urls.app);
});

test('the reference answer has the settings of the services', () => {
  expect(expected).toMatchObject({
    number: 1234567890,
    text: 'a\\b한',
    isolation: 'read committed',
    commit: 'on',
    schema: 'public',
    statement: '15s',
    idle: '30s',
  });
});

test.each([...wrong, ...harmless])('a database with %s = %s changes no answer', async (setting, value) => {
  await database.sql(`alter database ${name()} set ${setting} = ${value}`);
  expect(await answer(database.urls.app)).toEqual(expected);
});

test.each(wrong)('a role with %s = %s changes no answer', async (setting, value) => {
  await database.sql(`alter role ${app()} in database ${name()} set ${setting} = ${value}`);
  expect(await answer(database.urls.app)).toEqual(expected);
});

test('a setting that is changed later does not affect new connections', async () => {
  await using stack = new AsyncDisposableStack();
  const orm = stack.adopt(await connect({ url: database.urls.app, name: 'later' }), (it) => it.close(true));
  await database.sql(`alter role ${app()} in database ${name()} set DateStyle = German`);
  await database.sql(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'later' and datname = current_database()`,
  );
  await orm.em
    .fork()
    .execute('select 1')
    .catch(() => undefined);
  expect(await answerOf(orm)).toEqual(expected);
});

describe('Behind a pooler', () => {
  test('connections send no startup parameter that it refuses, and the role’s settings suffice', async () => {
    await database.sql(`alter database ${name()} set DateStyle = German`);
    await using server = await startPooler(database.urls.app);
    expect(await answer(server.url)).toEqual(expected);
    expect(server.settings).toEqual([['user', 'database', 'application_name', 'client_encoding']]);
  });

  test.each(wrong)('a role with %s = %s is refused with the remedy', async (setting, value) => {
    await database.sql(`alter role ${app()} in database ${name()} set ${setting} = ${value}`);
    await using server = await startPooler(database.urls.app);
    await expect(connect({ url: server.url })).rejects.toThrow(
      new RegExp(`^Sessions of the role ${app()} in the database .*: ${setting} is .*Run ops/create-database again`),
    );
  });
});

test('a session that does not enforce foreign keys is refused at start', async () => {
  await database.sql(`alter role ${app()} in database ${name()} set session_replication_role = replica`);
  const outcome = connect({ url: database.urls.app });
  await expect(outcome).rejects.toThrow('session_replication_role is replica');
  const problem = await outcome.catch((error: unknown) => toProblem(error, 'trace'));
  expect(problem).toMatchObject({ status: 500, unexpected: true });
});

test('migrations create tables in the schema public, whatever the role’s search_path', async () => {
  class CreateOwner extends Migration {
    override up(): void {
      this.addSql('create table owner (id int)');
    }
  }
  await database.sql('create schema elsewhere authorization lamp_owner');
  await database.sql(
    `alter role ${new URL(database.urls.owner).username} in database ${name()} set search_path = elsewhere`,
  );
  const migrations = [{ name: 'Pets0001Owner', class: CreateOwner }];
  await migrate({ url: database.urls.owner, migrations, table: 'pets.migration', print: () => undefined });
  expect(await database.sql(`select to_regclass('public.owner')::text as owner`)).toEqual([{ owner: 'owner' }]);
});

test('creating a database again restores the settings of its roles', async () => {
  const { superuserUrl } = JSON.parse(process.env.TEST_POSTGRES!);
  const parts = (kind: string) => ({ username: `late_${kind}`, password: 'secret', pathname: '/late' });
  const urls = Object.fromEntries(
    databaseRoles.map((kind) => [kind, Object.assign(new URL(superuserUrl), parts(kind)).href]),
  ) as SystemUrls;
  try {
    await createDatabase(superuserUrl, urls);
    for (const [setting, value] of wrong)
      if (setting !== 'synchronous_commit') await database.sql(`alter role late_app set ${setting} = ${value}`);
    await database.sql('alter role late_app in database late set DateStyle = German');
    await createDatabase(superuserUrl, urls);
    await using server = await startPooler(urls.app);
    await expect(answer(server.url)).resolves.toEqual(expected);
  } finally {
    await database.sql('drop database if exists late');
    for (const kind of databaseRoles) await database.sql(`drop role if exists late_${kind}`);
  }
});
