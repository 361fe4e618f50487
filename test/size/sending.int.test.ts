import { Client } from 'pg';
import type { Lease } from '../../services/relay/lease.ts';
import { BY_INDEX } from '../../services/relay/lease-queries.ts';
import { backOff, markRelayed } from '../../services/relay/outbox-queries.ts';
import { claimUnconfirmed, postpone, unconfirmedTopics } from '../../services/relay/resend-queries.ts';
import { keys, RelayFixture } from '../services/relay/fixture.ts';
import { ExplainingLease, expectBounded, explainStatements, LIMIT, ROWS } from './explain.ts';

// What the relay does with messages that it has read costs no more because many others wait, were sent, or were published.
const PARTITIONS = Array.from({ length: 32 }, (_, partition) => partition);
/** For a hundred messages, each in three tables with their indexes. */
const MAX_BUFFERS = 8_000;

let fixture: RelayFixture;
let client: Client;
let lease: ExplainingLease;
const asLease = () => lease as unknown as Lease;
beforeAll(async () => {
  fixture = await RelayFixture.open();
  await explainStatements(fixture.database);
  client = new Client(fixture.database.urls.relay);
  await client.connect();
  await client.query(BY_INDEX);
  lease = new ExplainingLease(client, true);
  await planEmpty();
  await fillMany();
}, LIMIT);
beforeEach(() => lease.reset());
afterAll(async () => {
  await client.end();
  await fixture[Symbol.asyncDispose]();
});

const TABLES = ['outbox', 'relayed', 'published', 'published_default'].map((table) => `eventing.${table}`);
const wanted = { topic: 'lamp-internal', partitions: PARTITIONS, ofPartition: 50, limit: 50 };

/** Has the connection make the plans that it keeps, from the sixth execution on, while the tables are nearly empty. */
async function planEmpty(): Promise<void> {
  const { sql } = fixture.database;
  for (const table of TABLES.filter((it) => it !== 'eventing.published'))
    await sql(`alter table ${table} set (autovacuum_enabled = false)`);
  await sql(`vacuum analyze ${TABLES.join(', ')}`);
  for (let i = 0; i < 7; i++) {
    const [refused, ...ids] = await fixture.fill(keys(3));
    await markRelayed(asLease(), ids, 300);
    await backOff(asLease(), [{ id: refused!, error: 'too large', counts: true }]);
    await sql('update eventing.relayed set resend_at = now()');
    await unconfirmedTopics(asLease(), 300);
    const batch = await claimUnconfirmed(asLease(), wanted);
    await postpone(asLease(), batch, new Set(ids), 300);
    await sql('delete from eventing.outbox; delete from eventing.relayed');
  }
  await sql(`vacuum analyze ${TABLES.join(', ')}`);
}

/** Inserts `ROWS` messages that wait, as many that are unconfirmed and due, and as many that are published. */
async function fillMany(): Promise<void> {
  const { sql } = fixture.database;
  await sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'many-' || g % 5000, '{"x": 1}' from generate_series(1, $1::int) g`,
    [ROWS],
  );
  await sql(
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'many-' || g % 5000, g % 32, 'ALL', '{"x": 1}', 0, now(),
       now() - g * interval '1 ms' from generate_series(1, $1::int) g`,
    [ROWS],
  );
  await sql(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at, published_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'ALL', 0, now(), now(), now() - g * interval '1 s'
       from generate_series(1, $1::int) g`,
    [ROWS],
  );
}

const bounded = {
  async marking() {
    const before = await fixture.count('relayed');
    const ids = await fixture.fill(keys(101));
    const refused = { id: ids.pop()!, error: 'too large', counts: true };
    expect((await markRelayed(asLease(), ids, 300)).locked).toEqual([]);
    expect(await backOff(asLease(), [refused])).toMatchObject([{ id: refused.id, attempts: 1 }]);
    expect(await fixture.count('relayed')).toBe(before + 100);
    const [mark, fail] = lease.costs;
    // Locked, deleted, and looked up once more.
    expect(mark!.read).toBeLessThanOrEqual(3 * 100 + 100);
    expect(mark!.scanned).toEqual([]);
    expectBounded([fail!], MAX_BUFFERS);
    expect(mark!.buffers).toBeLessThan(MAX_BUFFERS);
  },

  async repeating() {
    expect(await unconfirmedTopics(asLease(), 300)).toEqual([{ topic: 'lamp-internal', isConfirming: true }]);
    const batch = await claimUnconfirmed(asLease(), wanted);
    expect(batch).toHaveLength(50);
    await postpone(asLease(), batch, new Set(batch.map(({ id }) => id)), 300);
    const [topics, claim, postponed] = lease.costs;
    expectBounded([topics!], 100);
    // Fifty of each partition, of which the longest overdue are sent.
    expect(claim!.read).toBeLessThanOrEqual(32 * 50 + 100);
    expect(claim!.buffers).toBeLessThan(MAX_BUFFERS);
    expect(postponed!.read).toBeLessThanOrEqual(3 * 50 + 100);
    expect([claim!.scanned, postponed!.scanned]).toEqual([[], []]);
  },
};

describe('With plans made on empty tables', () => {
  afterAll(() => fixture.database.sql(`analyze ${TABLES.join(', ')}`));
  test('marking and holding back read only these messages', bounded.marking, LIMIT);
  test('a repeat reads only the batch that is sent', bounded.repeating, LIMIT);
});

test('marking messages as sent, and holding back a refused message, read only these messages', bounded.marking, LIMIT);
test('a repeat of unconfirmed messages reads only the batch that is sent', bounded.repeating, LIMIT);
