import { setImmediate } from 'node:timers/promises';
import { Migration } from '@mikro-orm/migrations';
import { defineEntity, type MikroORM, p } from '@mikro-orm/postgresql';
import { connect, migrate } from '#process/database';
import { toProblem } from '../../../lib/http/problem.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';

const petSchema = defineEntity({
  name: 'Pet',
  tableName: 'pet',
  properties: { id: p.integer().primary(), name: p.string(), version: p.integer().version() },
});
class Pet extends petSchema.class {}
petSchema.setClass(Pet);

let database: TestDatabase;
let orm: MikroORM;
const warnings: string[] = [];
beforeAll(async () => {
  database = await createTestDatabase('lamp');
  await database.sql(
    'create table pet (id int primary key, name text unique, version int not null default 1); grant all on pet to public',
  );
  orm = await connect({
    url: database.urls.app,
    entities: [Pet],
    pool: { max: 2 },
    name: 'pets',
    log: { warn: (line) => warnings.push(line) },
  });
});
afterAll(async () => {
  await orm.close();
  await database.drop();
});

async function problemOf(work: Promise<unknown>) {
  const { status, body, headers } = await work.then(
    () => Promise.reject(new Error('it worked')),
    (error: unknown) => toProblem(error, 'trace'),
  );
  return [status, body.slug, headers['Retry-After']];
}

const breakConnections = () =>
  database.sql(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pets' and datname = current_database()",
  );

test('a connection has an application name and timeouts', async () => {
  const [settings] = await orm.em
    .fork()
    .execute(`select current_setting('application_name') as name, current_setting('statement_timeout') as statement,
    current_setting('idle_in_transaction_session_timeout') as idle`);
  expect(settings).toEqual({ name: 'pets', statement: '15s', idle: '30s' });
});

test('connections broken within transactions are replaced in the pool, however many', async () => {
  const broken = () =>
    orm.em.fork().transactional(async (em) => {
      await em.execute('select 1');
      await breakConnections();
      await em.execute('select 1');
    });
  for (let i = 0; i < 4; i++) expect(await problemOf(broken())).toEqual([503, 'database-unavailable', '5']);
  await expect(orm.em.fork().execute('select 1 as one')).resolves.toEqual([{ one: 1 }]);
});

test('closing does not wait for a connection that is still being opened', async () => {
  for (let turns = 0; turns < 12; turns++) {
    const orm = await connect({ url: database.urls.app });
    for (let i = 0; i < 4; i++) {
      orm.em
        .getConnection()
        .execute('select 1')
        .catch(() => undefined);
    }
    for (let turn = 0; turn < turns; turn++) await setImmediate();
    await orm.close(true);
  }
});

test('a connection that breaks during a query is an outage, and a later query succeeds', async () => {
  const sleeping = orm.em.fork().execute('select pg_sleep(20)');
  const outcome = problemOf(sleeping);
  await eventually(async () => (await breakConnections()).length > 0);
  expect(await outcome).toEqual([503, 'database-unavailable', '5']);
  // The pool may hand out another broken connection before it has noticed its end.
  await eventually(() => orm.em.fork().execute('select 1'));
});

test('a query is refused as an outage when the pool stays exhausted', async () => {
  const forks = [orm.em.fork(), orm.em.fork()];
  for (const em of forks) await em.begin();
  expect(await problemOf(orm.em.fork().execute('select 1'))).toEqual([503, 'database-unavailable', '5']);
  for (const em of forks) await em.rollback();
}, 10_000);

test('an unreachable database is an outage', async () => {
  for (const host of ['127.0.0.1', 'localhost', 'no-such-host.invalid'])
    expect(await problemOf(connect({ url: `postgres://app:secret@${host}:1/none` }))).toEqual([
      503,
      'database-unavailable',
      '5',
    ]);
});

test('the later of two concurrent changes is a conflict, also with several entities', async () => {
  await database.sql("insert into pet (id, name) values (1, 'Rex'), (2, 'Tom')");
  const em = orm.em.fork();
  for (const pet of await em.find(Pet, {})) pet.name += '!';
  await database.sql('update pet set version = version + 1 where id = 2');
  expect(await problemOf(em.flush())).toEqual([409, 'concurrent-change', undefined]);
});

test('a duplicate of a unique value is a conflict', async () => {
  await database.sql("insert into pet (id, name) values (3, 'Kim')");
  const em = orm.em.fork();
  em.create(Pet, { id: 4, name: 'Kim' });
  expect(await problemOf(em.flush())).toEqual([409, 'already-exists', undefined]);
});

test.each([
  ['a text with U+0000 in a statement', ['select ?::text', ['a\0b']], [400, 'value-refused', undefined]],
  ['JSON that is nested too deeply', ['select ?::jsonb', ['['.repeat(20_000)]], [400, 'value-refused', undefined]],
  ['a number that is too large', ['select ?::int', ['3000000000']], [400, 'value-refused', undefined]],
  ['a null in a required column', ['insert into pet (id) values (null)', []], [500, 'internal-error', undefined]],
  ['a missing column', ['select missing from pet', []], [500, 'internal-error', undefined]],
  ['a forbidden table', ['select from pg_authid', []], [500, 'internal-error', undefined]],
  [
    'a statement that takes too long',
    ['set local statement_timeout = 1; select pg_sleep(9)', []],
    [503, 'try-again', '1'],
  ],
] as const)('%s is mapped to its problem', async (_, [sql, params], problem) => {
  const work = orm.em.fork().transactional((em) => em.execute(sql, [...params]));
  expect(await problemOf(work)).toEqual(problem);
});

test('a deadlock is answered 503 with Retry-After', async () => {
  await database.sql("insert into pet (id, name) values (11, 'a'), (12, 'b')");
  const lockBoth = (first: number, second: number, atBarrier: () => Promise<void>) =>
    orm.em.fork().transactional(async (em) => {
      await em.execute('update pet set name = name where id = ?', [first]);
      await atBarrier();
      await em.execute('update pet set name = name where id = ?', [second]);
    });
  let arrived = 0;
  const { promise: both, resolve } = Promise.withResolvers<void>();
  const barrier = async () => {
    arrived += 1;
    if (arrived === 2) resolve();
    await both;
  };
  const outcomes = await Promise.allSettled([lockBoth(11, 12, barrier), lockBoth(12, 11, barrier)]);
  const loser = outcomes.find((outcome) => outcome.status === 'rejected');
  expect(await problemOf(Promise.reject(loser?.reason))).toEqual([503, 'try-again', '1']);
});

describe('Migrations', () => {
  class CreateOwner extends Migration {
    override up(): void {
      this.addSql('create table owner (id int); select pg_sleep(0.2)');
    }
  }
  class Broken extends Migration {
    override up(): void {
      this.addSql('create table half (id int)');
      this.addSql('select nonsense');
    }
  }
  const create = { name: 'Pets0001Owner', class: CreateOwner };

  test('are applied once, in order, when several processes run them at the same time', async () => {
    const printed: string[] = [];
    const run = () =>
      migrate({
        url: database.urls.owner,
        migrations: [create],
        table: 'pets.migration',
        print: (line) => printed.push(line),
      });
    await Promise.all([run(), run(), run()]);
    expect(printed.sort()).toEqual(['applied Pets0001Owner', 'nothing to apply', 'nothing to apply']);
    expect(await database.sql('select name from pets.migration')).toEqual([{ name: 'Pets0001Owner' }]);
  });

  test('that fail leave nothing behind and keep the earlier ones', async () => {
    const migrations = [create, { name: 'Pets0002Broken', class: Broken }];
    await expect(
      migrate({ url: database.urls.owner, migrations, table: 'pets.migration', print: () => undefined }),
    ).rejects.toThrow('nonsense');
    expect(await database.sql("select to_regclass('half') as half")).toEqual([{ half: null }]);
    expect(await database.sql('select name from pets.migration')).toEqual([{ name: 'Pets0001Owner' }]);
  });
});
