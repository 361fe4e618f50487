import { Client } from 'pg';
import { OutboxReader } from '../../../services/relay/outbox-reader.ts';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayFixture } from './fixture.ts';

const PARTITIONS = Array.from({ length: 32 }, (_, partition) => partition);
const NONE: ReadonlySet<string> = new Set();

let fixture: RelayFixture;
let client: Client;
let tenure: number;
let reader: OutboxReader;
beforeAll(async () => {
  fixture = await RelayFixture.open();
  client = await connect();
});
beforeEach(async () => {
  await fixture.reset();
  tenure = 1;
  const query = async <Row>(text: string, values: readonly unknown[] = []) =>
    (await client.query(text, values as unknown[])).rows as Row[];
  // Searches for late and released messages once, at the first read.
  reader = new OutboxReader('lamp-internal', { query, tenureOf: () => tenure }, 3_600_000);
});
afterAll(async () => {
  await client.end();
  await fixture[Symbol.asyncDispose]();
});

async function connect(): Promise<Client> {
  const opened = new Client(fixture.database.urls.owner);
  await opened.connect();
  return opened;
}

/** Reads, and sends the first `count` messages. @returns the keys of all, in their order */
async function readAndSend(count = Number.POSITIVE_INFINITY): Promise<string[]> {
  const { batch } = await reader.read(PARTITIONS, NONE);
  const sent = batch.slice(0, count).map(({ id }) => id);
  await client.query('delete from eventing.outbox where id = any ($1::uuid[])', [sent]);
  reader.settle(batch, new Set(sent), NONE);
  return batch.map(({ orderingKey }) => orderingKey);
}

test('a key with a message that was committed late is not read before it, however much later', async () => {
  const slow = await connect();
  await slow.query(`begin; insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
    select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'slow', '{"n": 1}'`);
  const reads: number[] = [];
  // The marks are behind it from the second read on. That has to be longer ago than what was read recently is read again.
  await eventually(async () => {
    await fixture.fill(keys(300));
    reads.push(performance.now());
    await readAndSend();
    expect(performance.now() - (reads[1] ?? Number.POSITIVE_INFINITY)).toBeGreaterThan(1_000);
  });
  await slow.query('commit');
  await slow.end();
  const [second] = await fixture.fill(['slow']);
  const ids: string[] = [];
  await eventually(async () => {
    const { batch } = await reader.read(PARTITIONS, NONE);
    ids.push(...batch.map(({ id }) => id));
    reader.settle(batch, new Set(ids), NONE);
    expect(ids).toHaveLength(2);
  });
  expect(ids[1]).toBe(second);
});

test('what was left of a batch comes with the next one, unless another relay had its partition', async () => {
  await fixture.fill(keys(20));
  expect(await readAndSend(10)).toEqual(keys(20));
  expect(await readAndSend(5)).toEqual(keys(20).slice(10));
  // Another relay sends the rest and returns the partitions.
  await client.query('delete from eventing.outbox');
  tenure += 1;
  expect(await readAndSend()).toEqual([]);
});

test('messages that are not sent do not accumulate in memory', async () => {
  await fixture.fill(keys(2_000));
  const sizes: number[] = [];
  for (let i = 0; i < 4; i++) {
    const { batch } = await reader.read(PARTITIONS, NONE);
    sizes.push(batch.length);
    reader.settle(batch, NONE, NONE);
  }
  expect(Math.max(...sizes)).toBeLessThanOrEqual(800);
});

test('what follows a held message is not read, and what is before it is', async () => {
  await fixture.fill(['k', 'other'], 3);
  const { batch } = await reader.read(PARTITIONS, NONE);
  const ofKey = batch.filter(({ orderingKey }) => orderingKey === 'k').map(({ id }) => id);
  await client.query(`update eventing.outbox set next_attempt_at = now() + interval '1 hour' where id = $1`, [
    ofKey[1],
  ]);
  const others = batch.filter(({ orderingKey }) => orderingKey === 'other').map(({ id }) => id);
  await client.query('delete from eventing.outbox where id = any ($1::uuid[])', [others]);
  reader.settle(batch, new Set(others), new Set([ofKey[1]!]));
  const next = await reader.read(PARTITIONS, NONE);
  expect(next.batch.map(({ id }) => id)).toEqual([ofKey[0]]);
});
