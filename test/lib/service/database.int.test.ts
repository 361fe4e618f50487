import { setImmediate } from 'node:timers/promises';
import { Migration } from '@mikro-orm/migrations';
import { defineEntity, type MikroORM, p } from '@mikro-orm/postgresql';
import { connect, migrate } from '#service/database';
import { toProblem } from '#service/problem';
import { createDatabase, databaseRoles, type SystemUrls } from '../../../services/databases/create-database.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';
import { passOn } from './pooler.ts';

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
  database = await createTestDatabase('lab');
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

test('a connection says who we are, and waits for nothing without end', async () => {
  const [settings] = await orm.em
    .fork()
    .execute(`select current_setting('application_name') as name, current_setting('statement_timeout') as statement,
    current_setting('idle_in_transaction_session_timeout') as idle`);
  expect(settings).toEqual({ name: 'pets', statement: '15s', idle: '30s' });
});

describe('time-outs', () => {
  const shown = `select current_setting('statement_timeout') as statement, current_setting('idle_in_transaction_session_timeout') as idle`;
  const role = () => new URL(database.urls.app).username;
  // In this database only: roles are everybody's.
  const unset = async () => {
    const name = new URL(database.urls.app).pathname.slice(1);
    for (const setting of ['statement_timeout', 'idle_in_transaction_session_timeout'])
      await database.sql(`alter role ${role()} in database ${name} set ${setting} = 0`);
    return async () => void (await database.sql(`alter role ${role()} in database ${name} reset all`));
  };

  test('are the role’s, and nothing is sent with a connection that a pooler would refuse', async () => {
    await using server = await passOn(database.urls.app);
    const orm = await connect({ url: server.url, name: 'pets' });
    expect(await orm.em.fork().execute(shown)).toEqual([{ statement: '15s', idle: '30s' }]);
    await orm.close(true);
    expect(server.settings).toEqual([['user', 'database', 'application_name', 'client_encoding']]);
  });

  test('are sent with each connection when the role has none, as before it had', async () => {
    await using stack = new AsyncDisposableStack();
    stack.defer(await unset());
    const orm = await connect({ url: database.urls.app, name: 'pets' });
    stack.defer(() => orm.close(true));
    expect(await orm.em.fork().execute(shown)).toEqual([{ statement: '15s', idle: '30s' }]);
  });

  test('that neither the role has nor the pooler takes are asked for', async () => {
    await using stack = new AsyncDisposableStack();
    stack.defer(await unset());
    const server = stack.use(await passOn(database.urls.app, 'statement_timeout'));
    await expect(connect({ url: server.url })).rejects.toThrow(
      /the role has none of its own: run services\/databases again$/,
    );
  });

  test('are the role’s again once the command has run that creates roles', async () => {
    const { superuserUrl } = JSON.parse(process.env.TEST_POSTGRES!);
    const parts = (kind: string) => ({ username: `late_${kind}`, password: 'secret', pathname: '/late' });
    const urls = Object.fromEntries(
      databaseRoles.map((kind) => [kind, Object.assign(new URL(superuserUrl), parts(kind)).href]),
    ) as SystemUrls;
    const settings = () =>
      database.sql(
        "select setconfig from pg_db_role_setting s join pg_roles r on r.oid = s.setrole where rolname = 'late_app'",
      );
    try {
      await createDatabase(superuserUrl, urls);
      await database.sql('alter role late_app reset statement_timeout');
      await createDatabase(superuserUrl, urls);
      const [row] = await settings();
      expect(row!.setconfig).toEqual(
        expect.arrayContaining(['statement_timeout=15000', 'idle_in_transaction_session_timeout=30000']),
      );
    } finally {
      await database.sql('drop database if exists late');
      for (const kind of databaseRoles) await database.sql(`drop role if exists late_${kind}`);
    }
  });
});

test('connections that break within transactions come back to the pool, however many', async () => {
  const broken = () =>
    orm.em.fork().transactional(async (em) => {
      await em.execute('select 1');
      await breakConnections();
      await em.execute('select 1');
    });
  for (let i = 0; i < 4; i++) expect(await problemOf(broken())).toEqual([503, 'database-unavailable', '5']);
  await expect(orm.em.fork().execute('select 1 as one')).resolves.toEqual([{ one: 1 }]);
});

test('closing does not wait for a connection that is ready only then', async () => {
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

test('a connection that breaks under a query outside a transaction is an outage, and the next query works', async () => {
  const sleeping = orm.em.fork().execute('select pg_sleep(20)');
  const outcome = problemOf(sleeping);
  await eventually(async () => (await breakConnections()).length > 0);
  expect(await outcome).toEqual([503, 'database-unavailable', '5']);
  // The pool may hand out another broken connection before it has heard of its end.
  await eventually(() => orm.em.fork().execute('select 1'));
});

test('when every connection is taken, the next one is told so instead of waiting', async () => {
  const forks = [orm.em.fork(), orm.em.fork()];
  for (const em of forks) await em.begin();
  expect(await problemOf(orm.em.fork().execute('select 1'))).toEqual([503, 'database-unavailable', '5']);
  for (const em of forks) await em.rollback();
}, 10_000);

test('a database that is not there is an outage', async () => {
  for (const host of ['127.0.0.1', 'localhost', 'no-such-host.invalid'])
    expect(await problemOf(connect({ url: `postgres://app:secret@${host}:1/none` }))).toEqual([
      503,
      'database-unavailable',
      '5',
    ]);
});

test('of two changes at the same moment one is told to read again, also when several entities change', async () => {
  await database.sql("insert into pet (id, name) values (1, 'Rex'), (2, 'Tom')");
  const em = orm.em.fork();
  for (const pet of await em.find(Pet, {})) pet.name += '!';
  await database.sql('update pet set version = version + 1 where id = 2');
  expect(await problemOf(em.flush())).toEqual([409, 'concurrent-change', undefined]);
});

test('what must be unique and is not is a conflict, and what was typed is not told', async () => {
  await database.sql("insert into pet (id, name) values (3, 'Kim')");
  const em = orm.em.fork();
  em.create(Pet, { id: 4, name: 'Kim' });
  expect(await problemOf(em.flush())).toEqual([409, 'already-exists', undefined]);
});

test('a deadlock is worth another try', async () => {
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

describe('migrations', () => {
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

  test('are applied once, in order, whoever runs them and however many at a time', async () => {
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

  test('leave nothing behind when they fail, and keep what was applied before', async () => {
    const migrations = [create, { name: 'Pets0002Broken', class: Broken }];
    await expect(
      migrate({ url: database.urls.owner, migrations, table: 'pets.migration', print: () => undefined }),
    ).rejects.toThrow('nonsense');
    expect(await database.sql("select to_regclass('half') as half")).toEqual([{ half: null }]);
    expect(await database.sql('select name from pets.migration')).toEqual([{ name: 'Pets0001Owner' }]);
  });
});
