import { connect } from '#service/database';
import { createTestDatabase } from '../../support/database.ts';

test('x', async () => {
  const database = await createTestDatabase('lab');
  const orm = await connect({ url: database.urls.app, pool: { max: 2 } });
  const pool = (await orm.em.getConnection().getNativeClient()) as any;
  const kill = () =>
    database.sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where usename like '%app' and datname=current_database()",
    );
  for (let i = 0; i < 3; i++) {
    await orm.em
      .fork()
      .transactional(async (em) => {
        await em.execute('select 1');
        await kill();
        await em.execute('select 1');
      })
      .catch((e) => console.log(e.name, e.message));
    console.log('transactional', pool.totalCount, pool.idleCount, pool.waitingCount);
  }
  await orm.close();
  await database.drop();
}, 60000);
