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

const countOf = async (of: keyof typeof queries): Promise<number> =>
  Number((await keda.query(queries[of])).rows[0].count);

const columns = 'event_id, channel, topic, ordering_key, envelope';
const values = `gen_random_uuid(), 'internal', 'member-internal'`;
const insertWaiting = (count: number, key = 'i::text') =>
  database.sql(
    `insert into eventing.outbox (id, ${columns}) select gen_random_uuid(), ${values}, ${key}, '{}' from generate_series(1, ${count}) i`,
  );
const insertSent = (count: number, ago = '0 s') =>
  database.sql(
    `insert into eventing.relayed (id, ${columns}, partition, target, attempts, created_at, relayed_at, resend_at)
     select (lpad(to_hex(i + $1::bigint), 12, '0') || repeat('0', 20))::uuid, ${values}, i::text, '{}', 0, 'ALL', 0, now(), now() - $2::interval, now()
     from generate_series(1, ${count}) i`,
    [Date.now(), ago],
  );
const insertConfirmed = (ago = '0 s') =>
  database.sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     values ($1, $1, 'internal', 'member-internal', 'ALL', 0, now(), now(), now() - $2::interval)`,
    [uuid(), ago],
  );

describe('KEDA’s query for an API', () => {
  test('counts waiting messages, and none in an empty outbox', async () => {
    await insertConfirmed();
    expect(await countOf('outbox')).toBe(0);
    await insertWaiting(3);
    expect(await countOf('outbox')).toBe(3);
  });

  test('counts neither parked or backed-off messages nor the later ones of their keys', async () => {
    await insertConfirmed();
    await insertWaiting(4, `'poison'`);
    await insertWaiting(2, `'slow'`);
    await database.sql(
      `update eventing.outbox set parked_at = now() where position = (select min(position) from eventing.outbox)`,
    );
    await database.sql(`update eventing.outbox set next_attempt_at = now() + interval '1 min'
      where position = (select min(position) from eventing.outbox where ordering_key = 'slow')`);
    expect(await countOf('outbox')).toBe(0);
    await insertWaiting(5);
    expect(await countOf('outbox')).toBe(5);
  });

  test('counts nothing while no message is confirmed, since the broker is down', async () => {
    await insertConfirmed('2 min');
    await insertWaiting(10);
    expect(await countOf('outbox')).toBe(0);
    await insertConfirmed('10 s');
    expect(await countOf('outbox')).toBe(10);
  });
});

describe('KEDA’s query for the recorder', () => {
  test('counts unconfirmed messages', async () => {
    await insertConfirmed();
    expect(await countOf('relayed')).toBe(0);
    await insertSent(3);
    expect(await countOf('relayed')).toBe(3);
  });

  test('counts neither lost messages, nor any while no message is confirmed', async () => {
    await insertSent(4, '10 min');
    await insertConfirmed();
    expect(await countOf('relayed')).toBe(0);
    await database.sql('delete from eventing.published');
    await insertSent(3);
    expect(await countOf('relayed')).toBe(0);
  });
});

test('KEDA’s queries count and read no more messages than their limit', async () => {
  await insertWaiting(30_000);
  await database.sql(`update eventing.outbox set parked_at = now() where position % 3 = 0 and position < 20000`);
  await insertSent(30_000);
  await insertConfirmed();
  await database.sql('analyze eventing.outbox, eventing.relayed, eventing.published');
  for (const table of ['outbox', 'relayed'] as const) {
    expect([table, await countOf(table)]).toEqual([table, LIMIT]);
    const { rows } = await keda.query(`explain (analyze, buffers, format json) ${queries[table]}`);
    const { Plan: plan } = rows[0]['QUERY PLAN'][0];
    // Each table has several hundred blocks.
    expect(plan['Shared Hit Blocks'] + plan['Shared Read Blocks']).toBeLessThan(300);
  }
});
