import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { kedaQuery } from './keda-query.ts';

const LIMIT = 50;
const queries = {
  outbox: kedaQuery('outbox', { system: 'member', limit: LIMIT }),
  relayed: kedaQuery('relayed', { system: 'member', limit: LIMIT }),
};
let database: TestDatabase;
let keda: Client;
beforeEach(async () => {
  database = await createTestDatabase('member');
  keda = new Client(database.urls.readonly);
  await keda.connect();
});
afterEach(async () => {
  await keda.end();
  await database.drop();
});

const waiting = async (of: keyof typeof queries): Promise<number> =>
  Number((await keda.query(queries[of])).rows[0].count);

const columns = 'event_id, channel, topic, ordering_key, envelope';
const values = `gen_random_uuid(), 'internal', 'member-internal'`;
const wait = (count: number, key = 'i::text') =>
  database.sql(
    `insert into eventing.outbox (id, ${columns}) select gen_random_uuid(), ${values}, ${key}, '{}' from generate_series(1, ${count}) i`,
  );
const relay = (count: number, ago = '0 s') =>
  database.sql(
    `insert into eventing.relayed (id, ${columns}, partition, target, attempts, created_at, relayed_at, resend_at)
     select (lpad(to_hex(i + $1::bigint), 12, '0') || repeat('0', 20))::uuid, ${values}, i::text, '{}', 0, 'ALL', 0, now(), now() - $2::interval, now()
     from generate_series(1, ${count}) i`,
    [Date.now(), ago],
  );
const comeBack = (ago = '0 s') =>
  database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     values ($1, $1, 'internal', 'member-internal', 'ALL', 0, now(), now(), now() - $2::interval)`,
    [uuid(), ago],
  );

describe('For its relays an API has as many pods as', () => {
  test('messages wait: none when the outbox is empty', async () => {
    await comeBack();
    expect(await waiting('outbox')).toBe(0);
    await wait(3);
    expect(await waiting('outbox')).toBe(3);
  });

  test('can be worked off: what is parked or to be tried again later counts for nothing, and so does what is behind it', async () => {
    await comeBack();
    await wait(4, `'poison'`);
    await wait(2, `'slow'`);
    await database.sql(
      `update eventing.outbox set parked_at = now() where position = (select min(position) from eventing.outbox)`,
    );
    await database.sql(`update eventing.outbox set next_attempt_at = now() + interval '1 min'
      where position = (select min(position) from eventing.outbox where ordering_key = 'slow')`);
    expect(await waiting('outbox')).toBe(0);
    await wait(5);
    expect(await waiting('outbox')).toBe(5);
  });

  test('are of use: none for what waits while nothing comes back, since the broker is not there', async () => {
    await comeBack('2 min');
    await wait(10);
    expect(await waiting('outbox')).toBe(0);
    await comeBack('10 s');
    expect(await waiting('outbox')).toBe(10);
  });
});

describe('The recorder has as many pods as', () => {
  test('messages have not come back', async () => {
    await comeBack();
    expect(await waiting('relayed')).toBe(0);
    await relay(3);
    expect(await waiting('relayed')).toBe(3);
  });

  test('are on their way: not those that are lost and sent again, and none while nothing comes back at all', async () => {
    await relay(4, '10 min');
    await comeBack();
    expect(await waiting('relayed')).toBe(0);
    await database.sql('delete from eventing.published');
    await relay(3);
    expect(await waiting('relayed')).toBe(0);
  });
});

test('However many wait, no more are counted and looked at than the limit says', async () => {
  await wait(30_000);
  await database.sql(`update eventing.outbox set parked_at = now() where position % 3 = 0 and position < 20000`);
  await relay(30_000);
  await comeBack();
  await database.sql('analyze eventing.outbox, eventing.relayed, eventing.published');
  for (const table of ['outbox', 'relayed'] as const) {
    expect([table, await waiting(table)]).toEqual([table, LIMIT]);
    const { rows } = await keda.query(`explain (analyze, buffers, format json) ${queries[table]}`);
    const { Plan: plan } = rows[0]['QUERY PLAN'][0];
    // Each table has several hundred.
    expect(plan['Shared Hit Blocks'] + plan['Shared Read Blocks']).toBeLessThan(300);
  }
});
