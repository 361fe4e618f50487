import { Client } from 'pg';
import { BY_INDEX } from '../../services/relay/lease-queries.ts';
import type { OutboxMessage } from '../../services/relay/message.ts';
import { topicsWaiting } from '../../services/relay/outbox-queries.ts';
import { OutboxReader } from '../../services/relay/outbox-reader.ts';
import { keys, RelayFixture } from '../services/relay/fixture.ts';
import { eventually } from '../support/eventually.ts';
import { type Cost, ExplainingLease, expectBounded, explainStatements, LIMIT, ROWS } from './explain.ts';

// No statement of the relay reads more because many rows wait, are held back, or were sent.
const PARTITIONS = new Set(Array.from({ length: 32 }, (_, partition) => partition));
/** The longest page has 2,000 messages and reads twice as many, each from a page of the table, and the index. */
const MAX_BUFFERS = 8_000;

let fixture: RelayFixture;
let client: Client;
let lease: ExplainingLease;
/** Stands for the queue: its messages count as sent once they are taken from it. */
const queue = {
  messages: [] as OutboxMessage[],
  idsOf: () => [],
  has: () => false,
  hasRoom: () => true,
  add: (message: OutboxMessage) => queue.messages.push(message) > 0,
  takeAll: () => queue.messages.splice(0),
};
const newReader = () => new OutboxReader('lamp-internal', lease, queue, new Map(), 0);
beforeAll(async () => {
  fixture = await RelayFixture.open();
  await explainStatements(fixture.database);
  await fixture.database.sql('alter table eventing.outbox set (autovacuum_enabled = false)');
});
beforeEach(async () => {
  await fixture.reset();
  client = new Client(fixture.database.urls.relay);
  await client.connect();
  await client.query(BY_INDEX);
  lease = new ExplainingLease(client, true);
});
afterEach(() => client.end());
afterAll(() => fixture[Symbol.asyncDispose]());

/** Inserts `ROWS` messages of `count` keys. */
async function fillMany(count: number, hasStatistics = true): Promise<void> {
  await fixture.database.sql(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'many-' || (g % $2),
       jsonb_build_object('id', g, 'partitionkey', 'many-' || (g % $2), 'x', repeat(md5(g::text), 10))
     from generate_series(1, $1::int) g`,
    [ROWS, count],
  );
  if (hasStatistics) await fixture.database.sql('analyze eventing.outbox');
}

/** Parks the first message of each key. */
const parkFirst = (): Promise<unknown> =>
  fixture.database.sql(
    `update eventing.outbox set parked_at = now(), attempts = 5 where position in (select min(position) from eventing.outbox group by ordering_key)`,
  );

/** Reads once more and returns what it cost. */
async function costOfReading(reader: OutboxReader): Promise<readonly Cost[]> {
  lease.reset();
  await reader.read(PARTITIONS);
  queue.takeAll();
  return [...lease.costs];
}

/** Reads and deletes until nothing is left. @returns the messages' positions */
async function readAll(reader: OutboxReader): Promise<number[]> {
  const positions: number[] = [];
  do {
    await reader.read(PARTITIONS);
    const messages = queue.takeAll();
    positions.push(...messages.map(({ position }) => position));
    const ids = messages.map(({ id }) => id);
    await client.query('delete from eventing.outbox where id = any ($1::uuid[])', [ids]);
  } while (reader.hasMore);
  return positions;
}

test.each([1, 2_000, ROWS])(
  'the relay reads no more when 200,000 messages of %i keys wait',
  async (count) => {
    await fillMany(count);
    const reader = newReader();
    for (let page = 0; page < 5; page++) expectBounded(await costOfReading(reader), MAX_BUFFERS);
    lease.reset();
    await topicsWaiting(lease);
    expectBounded(lease.costs, MAX_BUFFERS);
  },
  LIMIT,
);

test(
  'the relay reads no more when 200,000 messages wait and the table has no statistics yet',
  async () => {
    await fillMany(2_000, false);
    expectBounded(await costOfReading(newReader()), MAX_BUFFERS);
  },
  LIMIT,
);

test(
  'the relay reads no more with plans made on an empty outbox',
  async () => {
    await fixture.database.sql('vacuum analyze eventing.outbox');
    lease.isExplaining = false;
    // PostgreSQL keeps a plan from the sixth execution on.
    for (let i = 0; i < 7; i++) {
      const reader = newReader();
      await reader.read(PARTITIONS);
      await fixture.fill(['a', 'b'], 2);
      await readAll(reader);
      await topicsWaiting(lease);
    }
    await fixture.database.sql('vacuum analyze eventing.outbox');
    await fillMany(2_000, false);
    await parkFirst();
    const healthy = await fixture.fill(keys(100));
    lease.isExplaining = true;
    const reader = newReader();
    const read: string[] = [];
    do {
      lease.reset();
      await reader.read(PARTITIONS);
      expectBounded(lease.costs, MAX_BUFFERS);
      read.push(...queue.takeAll().map(({ id }) => id));
    } while (reader.hasMore);
    expect(read.toSorted()).toEqual(healthy.toSorted());
    lease.reset();
    await topicsWaiting(lease);
    expectBounded(lease.costs, MAX_BUFFERS);
  },
  LIMIT,
);

test(
  '200,000 messages behind 2,000 parked keys are passed over once, and healthy ones are read',
  async () => {
    await fillMany(2_000);
    await parkFirst();
    const healthy = new Set(await fixture.fill(keys(1_000)));
    const reader = newReader();
    const read = new Set<string>();
    do {
      lease.reset();
      await reader.read(PARTITIONS);
      expectBounded(lease.costs, MAX_BUFFERS);
      for (const { id } of queue.takeAll()) read.add(id);
    } while (reader.hasMore);
    expect(read).toEqual(healthy);
    // Nothing of it is read again.
    await client.query('delete from eventing.outbox where id = any ($1::uuid[])', [[...healthy]]);
    await fixture.fill(['new']);
    const costs = await costOfReading(reader);
    expectBounded(costs, MAX_BUFFERS);
    // Looking for late messages reads at most a hundred of each partition at a time.
    expect(Math.max(...costs.map(({ read }) => read))).toBeLessThan(4_000);
  },
  LIMIT,
);

test(
  'parked keys that are released are read by key, in order',
  async () => {
    await fillMany(2_000);
    await parkFirst();
    const reader = newReader();
    lease.isExplaining = false;
    expect(await readAll(reader)).toEqual([]);
    await fixture.database.sql(
      `update eventing.outbox set parked_at = null, next_attempt_at = now() where ordering_key = 'many-7' and parked_at is not null`,
    );
    lease.isExplaining = true;
    const positions: number[] = [];
    await eventually(async () => {
      lease.reset();
      positions.push(...(await readAll(reader)));
      expectBounded(lease.costs, MAX_BUFFERS);
      expect(positions.length).toBe(ROWS / 2_000);
    });
    expect(positions).toEqual(positions.toSorted((one, other) => one - other));
  },
  LIMIT,
);

test(
  'messages that were sent while an old snapshot is open are not looked at again',
  async () => {
    const old = new Client(fixture.database.urls.owner);
    await old.connect();
    try {
      await old.query('begin isolation level repeatable read');
      await old.query('select count(*) from eventing.outbox');
      await fillMany(2_000);
      const reader = newReader();
      lease.isExplaining = false;
      expect((await readAll(reader)).length).toBe(ROWS);
      lease.isExplaining = true;
      await fixture.fill(keys(500));
      const costs = await costOfReading(reader);
      const page = costs.find(({ statement }) => statement.includes('page.position'))!;
      expect(page.returned).toBe(500);
      expectBounded([page], MAX_BUFFERS);
    } finally {
      await old.end();
    }
  },
  LIMIT,
);
