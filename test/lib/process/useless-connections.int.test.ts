import type { MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { Consumer } from '#eventing/consumer';
import { Inbox } from '#eventing/inbox';
import { execute } from '#eventing/sql';
import { connect } from '#process/database';
import { databaseCheck, Health } from '#process/health';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/eventually.ts';
import { eventOf } from '../eventing/fixture.ts';

let database: TestDatabase;
let orm: MikroORM;
let health: Health;
beforeEach(async () => {
  database = await createTestDatabase('lamp');
  await database.sql('create table pet (name text); grant insert, select on pet to lamp_app');
  orm = await connect({ url: database.urls.app, pool: { max: 2 } });
  health = new Health({ database: databaseCheck(orm) });
});
afterEach(async () => {
  await orm.close(true);
  await database.drop();
});

const name = () => new URL(database.urls.app).pathname.slice(1);
const pool = async () =>
  (
    await database.sql<{ pid: number }>(
      `select pid from pg_stat_activity where usename = 'lamp_app' and datname = current_database() order by pid`,
    )
  ).map(({ pid }) => pid);
const sessionOf = async (em = orm.em.fork()) =>
  (await em.execute<{ pid: number }[]>('select pg_backend_pid() as pid'))[0]!.pid;
const write = () => orm.em.fork().transactional((em) => em.execute(`insert into pet values ('Rex')`));

/** Leaves only read-only sessions in the pool, as a failover behind one address does. */
async function leaveReadOnlySessions(): Promise<void> {
  await database.sql(`alter role lamp_app in database ${name()} set default_transaction_read_only = on`);
  await database.sql(
    `select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'lamp_app' and datname = current_database()`,
  );
  // Fills the pool.
  await eventually(() => Promise.all([1, 2].map(() => orm.em.fork().execute('select pg_sleep(0.1)'))));
  expect(await pool()).toHaveLength(2);
}
const repair = () => database.sql(`alter role lamp_app in database ${name()} reset default_transaction_read_only`);

test('a transaction that ignores the error of a statement fails at its commit', async () => {
  const ignoring = orm.em.fork().transactional(async (em) => {
    await em.execute(`insert into pet values ('Bello')`);
    await em.execute('select 1 / 0').catch(() => undefined);
  });
  await expect(ignoring).rejects.toMatchObject({ code: '25P02' });
  expect(await database.sql('select name from pet')).toEqual([]);
  for (const _ of [1, 2, 3]) await write();
});

test('a process with read-only connections is not ready, and can write after the repair', async () => {
  await leaveReadOnlySessions();
  expect(await health.readiness()).toEqual({ ready: false, checks: { database: '25006' } });
  await expect(write()).rejects.toMatchObject({ code: '25006' });
  await leaveReadOnlySessions();
  await repair();
  // Each connection of the pool fails once.
  for (const _ of [1, 2]) await write().catch(() => undefined);
  await write();
  expect(await health.readiness()).toEqual({ ready: true, checks: { database: 'ok' } });
});

test('a worker takes deliveries again once new connections can write', async () => {
  const applied: string[] = [];
  const consumer: Consumer = {
    name: 'writer',
    order: 'convergent',
    types: 'all',
    async handle(em, event) {
      await execute(em, `insert into pet values ('Kim')`);
      applied.push(event.eventId);
    },
  };
  await using inbox = new Inbox(orm, { ownSource: '/other', log: { warn: () => undefined, error: () => undefined } });
  inbox.start([consumer]);
  await leaveReadOnlySessions();
  const event = eventOf(uuid(), 1);
  await expect(inbox.deliver(consumer, event)).rejects.toMatchObject({ code: '25006' });
  await repair();
  // The broker redelivers it.
  await eventually(() => inbox.deliver(consumer, event));
  expect(applied).toEqual([event.eventId]);
});

test('a session with a wrong search_path is not used again', async () => {
  const em = orm.em.fork();
  const session = await sessionOf(em);
  await em.execute('set search_path = elsewhere');
  await expect(write()).rejects.toMatchObject({ code: '42P01' });
  expect(await sessionOf()).not.toBe(session);
  await write();
});

test('a session that is returned within a transaction is not used again', async () => {
  const session = await sessionOf();
  await orm.em.fork().execute('begin');
  expect(await sessionOf()).not.toBe(session);
});

test('sessions that are returned within failed transactions do not exhaust the pool', async () => {
  for (const _ of [1, 2, 3]) {
    await expect(orm.em.fork().execute('begin; select 1/0')).rejects.toMatchObject({ code: '22012' });
    await write().catch(() => undefined);
  }
  await write();
});

test.each([
  ['a refused input', `insert into pet values (repeat('x', 2000000000))`],
  ['a time-out', `set local statement_timeout = 1; select pg_sleep(9)`],
])('a session is kept after %s', async (_, sql) => {
  const session = await sessionOf();
  await expect(orm.em.fork().transactional((em) => em.execute(sql))).rejects.toThrow();
  expect(await sessionOf()).toBe(session);
});
