import { defineEntity, type MikroORM, p } from '@mikro-orm/postgresql';
import { connect } from '#service/database';
import { databaseError } from '#service/database-errors';
import { describeError } from '#service/log';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
let orm: MikroORM;
const P = defineEntity({ name: 'Pet', tableName: 'pet', properties: { id: p.integer().primary(), email: p.string() } });
class Pet extends P.class {}
P.setClass(Pet);
test('x', async () => {
  database = await createTestDatabase('lab');
  await database.sql('create table pet (id int primary key, email text unique); grant all on pet to public;');
  const warnings: string[] = [];
  orm = await connect({
    url: database.urls.app,
    entities: [Pet],
    pool: { max: 1 },
    log: { warn: (m) => warnings.push(m) },
  });
  const em = orm.em.fork();
  em.create(Pet, { id: 1, email: 'a@example.com' });
  await em.flush();
  const em2 = orm.em.fork();
  em2.create(Pet, { id: 2, email: 'a@example.com' });
  for (const f of [
    () => em2.flush(),
    () => orm.em.fork().execute('select * from nope where x = ?', ['secretparam']),
    () => orm.em.fork().findOneOrFail(Pet, { email: 'nobody@x' }),
    () => orm.em.fork().execute('select ?::uuid', ['boo']),
  ]) {
    await f().catch((e) =>
      console.log(
        e.name,
        '|',
        e.message,
        '|',
        e.sqlMessage,
        Object.keys(e),
        databaseError(e)?.slug,
        JSON.stringify(describeError(e)),
      ),
    );
  }
  const t = orm.em.fork();
  await t.begin();
  await orm.em
    .fork()
    .execute('select 1')
    .catch((e) => console.log(e.name, e.message, e.code, databaseError(e)?.slug));
  await database.sql(
    "select pg_terminate_backend(pid) from pg_stat_activity where usename like '%app' and datname=current_database()",
  );
  await t.execute('select 1').catch((e) => console.log(e.name, e.message, e.code, databaseError(e)?.slug));
  await t.rollback().catch((e) => console.log('rb', e.name, e.message, e.code, databaseError(e)?.slug));
  console.log(
    await orm.em
      .fork()
      .execute(
        "select application_name, current_setting('statement_timeout') s, current_setting('TimeZone') tz, current_setting('idle_in_transaction_session_timeout') from pg_stat_activity where pid = pg_backend_pid()",
      ),
  );
  console.log(warnings);
  await connect({ url: 'postgres://a:b@127.0.0.1:1/x' }).catch((e) =>
    console.log(e.name, e.message, e.code, databaseError(e)?.slug),
  );
  await connect({ url: 'postgres://a:b@localhost:1/x' }).catch((e) =>
    console.log(e.name, e.message, e.code, databaseError(e)?.slug),
  );
  await orm.close();
  await database.drop();
}, 60000);
