import { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { messageOf } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { findGaps } from '#eventing/gaps';
import { Recorder } from '#eventing/recorder';
import { findDeferred } from '#eventing/waiting';
import { applyOnce } from '../../lib/eventing/inbox/apply-once.ts';
import { claimDue, deferFailed } from '../../lib/eventing/inbox/deferred-deliveries.ts';
import { deleteOld } from '../../ops/housekeeping/prune.ts';
import { eventOf } from '../lib/eventing/fixture.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { ExplainingLease, expectBounded, explainingOrm, explainStatements, LIMIT, ROWS } from './explain.ts';

// No statement of a delivery reads more because many events were applied, are deferred in any state, or are published.
const SOURCE = '/elsewhere';
const MAX_BUFFERS = 500;
const TABLES = ['inbox', 'cursor', 'applied', 'kept_delivery', 'outbox', 'relayed', 'published'];
/** Those that hold rows: two of them are partitioned. */
const STORED = ['inbox_default', 'cursor', 'applied', 'kept_delivery', 'outbox', 'relayed', 'published_default'];
const STATES = ['early', 'failing', 'dead', 'discarded'] as const;

let database: TestDatabase;
let client: Client;
let lease: ExplainingLease;
let orm: ReturnType<typeof explainingOrm>;
beforeAll(async () => {
  database = await createTestDatabase('lamp');
  await explainStatements(database);
  await connect();
  await planEmpty();
  await fillMany();
}, LIMIT);
beforeEach(() => lease.reset());
afterAll(async () => {
  await client.end();
  await database[Symbol.asyncDispose]();
});

const analyze = () => database.sql(`analyze ${TABLES.map((table) => `eventing.${table}`).join(', ')}`);

async function connect(): Promise<void> {
  client = new Client(database.urls.app);
  await client.connect();
  lease = new ExplainingLease(client);
  orm = explainingOrm(lease);
}

/** Has the connection make the plans that it keeps, while all tables are empty. Nothing but new statistics has them made again. */
async function planEmpty(): Promise<void> {
  for (const table of STORED) {
    await database.sql(`alter table eventing.${table} set (autovacuum_enabled = false)`);
    await database.sql(`vacuum analyze eventing.${table}`);
  }
  // PostgreSQL keeps a plan from the sixth execution on.
  for (let i = 0; i < 6; i++) {
    for (const order of ['convergent', 'ordered'] as const) await deliver(order);
    await confirm();
  }
  await database.sql(`delete from eventing.kept_delivery`);
}

/** For the consumers `ordered` and `convergent`: `ROWS` applied events, and as many deferred ones of each state. */
async function fillMany(): Promise<void> {
  const many = (text: string) => database.sql(`${text} from generate_series(1, $1::int) g`, [ROWS]);
  await many(`insert into eventing.inbox (consumer, event_id) select 'convergent', gen_random_uuid()`);
  await many(
    `insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) select 'ordered', '${SOURCE}', gen_random_uuid(), 3`,
  );
  await many(
    `insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type, applied_at)
     select 'ordered', '${SOURCE}', gen_random_uuid(), 3, gen_random_uuid(), 'lamp.inspected', now() - g * interval '1 s'`,
  );
  for (const state of STATES)
    await many(
      `insert into eventing.kept_delivery
         (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, state, next_attempt_at, received_at)
       select 'ordered', gen_random_uuid(), '${SOURCE}', gen_random_uuid(), 3, 'lamp.inspected', '{"sequence": 3}', '${state}',
         case '${state}' when 'failing' then now() - g * interval '1 ms' end, now() - g * interval '1 s'`,
    );
  await many(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'many', '{"x": 1}'`,
  );
  await many(
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'many', 1, 'ALL', '{"x": 1}', 0, now(), now()`,
  );
  await many(
    `insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'ALL', 0, now(), now()`,
  );
}

const consumer = (order: Consumer['order']): Consumer => ({ name: order, order, types: 'all', handle: async () => {} });

/** Applies an event, repeats it, and defers one that is too early and one that fails. */
async function deliver(order: Consumer['order']): Promise<void> {
  const aggregateId = uuid();
  const of = (sequence: number) => ({ event: eventOf(aggregateId, sequence, { source: SOURCE }) });
  const apply = (delivery: ReturnType<typeof of>) => applyOnce(orm, consumer(order), delivery, { ownSource: '/lamp' });
  const first = of(1);
  expect(await apply(first)).toMatchObject({ kind: 'applied' });
  expect(await apply(first)).toMatchObject({ kind: 'duplicate' });
  await apply(of(3));
  const failure = { error: new Error('no'), maxAttempts: 8, backoffMs: 500 };
  expect(await deferFailed(orm, consumer(order), of(2), failure)).toBe('failing');
}

/** Confirms a message that was sent. */
async function confirm(): Promise<void> {
  const event = eventOf(uuid(), 1, { source: '/lamp' });
  await database.sql(
    `insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
     values ($1, $2, 'internal', 'lamp-internal', 'many', 1, 'ALL', $3, 0, now(), now())`,
    [event.messageId, event.eventId, messageOf(event, event)],
  );
  await new Recorder(orm).confirm({ topic: 'lamp-internal', event, dataOf: ({ data }) => data });
  expect(await database.sql('select 1 from eventing.published where id = $1', [event.messageId])).toHaveLength(1);
}

/** @param index beginning of the name of an index that the function reads */
function expectBoundedFunction(index: string): void {
  expect(lease.costs.flatMap(({ indexes }) => indexes)).toContainEqual(expect.stringMatching(`^${index}`));
  expectBounded(lease.costs, 100);
}

async function expectBoundedDelivery(order: Consumer['order']): Promise<void> {
  await deliver(order);
  expectBoundedFunction('kept_delivery_');
}

async function expectBoundedConfirmation(): Promise<void> {
  await confirm();
  expectBoundedFunction('relayed_');
}

describe('With plans made on empty tables', () => {
  afterAll(async () => {
    await client.end();
    await analyze();
    await connect();
  });

  test.each(['convergent', 'ordered'] as const)(
    'a delivery to a %s consumer reads its own rows only',
    expectBoundedDelivery,
    LIMIT,
  );
  test('a confirmation reads its own message', expectBoundedConfirmation);
});

test.each(['convergent', 'ordered'] as const)(
  'a delivery to a %s consumer reads its own rows only: applied, repeated, too early, failed',
  expectBoundedDelivery,
  LIMIT,
);

test('retrying deferred deliveries reads the ones that are due, whatever waits in other states', async () => {
  expect(await claimDue(orm, 'ordered')).toHaveLength(20);
  expectBounded(lease.costs, MAX_BUFFERS);
});

test('a confirmation reads its own message', expectBoundedConfirmation);

test.each(STATES)('operators get a page of %s deliveries without reading all', async (state) => {
  expect(await findDeferred(orm.em as never, { state, limit: 200 })).toHaveLength(200);
  expectBounded(lease.costs, MAX_BUFFERS);
});

test.each(['applied', 'kept_delivery', 'inbox_default', 'published_default'] as const)(
  'housekeeping deletes a batch of %s without reading the rest',
  async (table) => {
    const housekeeper = new Client(database.urls.housekeeping);
    await housekeeper.connect();
    try {
      await database.sql("update eventing.horizon set first_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'");
      const explaining = new ExplainingLease(housekeeper);
      const query = async (text: string, values?: unknown[]) => {
        if (!values) return await housekeeper.query(text);
        return { rows: await explaining.query(text, values) };
      };
      await deleteOld({ query } as never, table, 1);
      const [cost] = explaining.costs;
      // Found, and found again to be deleted.
      expect(cost!.read).toBeLessThanOrEqual(3 * 5_000);
      expect(cost!.scanned).toEqual([]);
      expect(cost!.buffers).toBeLessThan(100_000);
    } finally {
      await housekeeper.end();
    }
  },
);

test('looking for gaps reads the longest waiting events, not all', async () => {
  expect(await findGaps(orm.em as never, { ageSeconds: 0, limit: 50 })).toHaveLength(50);
  const [{ read, scanned, buffers }] = lease.costs as [(typeof lease.costs)[0]];
  // Ten thousand events, the cursor of each, and the missing event of each.
  expect(read).toBeLessThanOrEqual(3 * 10_000);
  expect(scanned).toEqual([]);
  expect(buffers).toBeLessThan(100_000);
});
