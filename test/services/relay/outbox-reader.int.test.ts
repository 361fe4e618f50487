import { Client } from 'pg';
import type { OutboxMessage } from '../../../services/relay/message.ts';
import { OutboxReader } from '../../../services/relay/outbox-reader.ts';
import { ReadyQueue } from '../../../services/relay/ready-queue.ts';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayFixture } from './fixture.ts';

const PARTITIONS = new Set(Array.from({ length: 32 }, (_, partition) => partition));

let fixture: RelayFixture;
let client: Client;
let tenure: number;
let onQuery: (text: string) => void;
let queue: ReadyQueue;
let reader: OutboxReader;
beforeAll(async () => {
  fixture = await RelayFixture.open();
  client = await connect();
});
beforeEach(async () => {
  await fixture.reset();
  tenure = 1;
  onQuery = () => undefined;
  const query = async <Row>(text: string, values: readonly unknown[] = []) => {
    onQuery(text);
    return (await client.query(text, values as unknown[])).rows as Row[];
  };
  // Searches for late and released messages once, at the first read.
  queue = new ReadyQueue();
  reader = new OutboxReader('lamp-internal', { query, tenureOf: () => tenure }, queue, new Map(), 3_600_000);
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

/** Reads, and sends all that is in the queue. @returns the sent messages, in the order of their keys and positions */
async function readAndSend(): Promise<OutboxMessage[]> {
  await reader.read(PARTITIONS);
  const sent: OutboxMessage[] = [];
  for (let call = queue.take(1_000); call.length > 0; call = queue.take(1_000)) {
    sent.push(...call);
    await remove(call);
    for (const message of call) queue.accept(message);
  }
  return sent;
}
const remove = (messages: readonly OutboxMessage[]) =>
  client.query('delete from eventing.outbox where id = any ($1::uuid[])', [messages.map(({ id }) => id)]);

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
    const sent = await readAndSend();
    ids.push(...sent.filter(({ orderingKey }) => orderingKey === 'slow').map(({ id }) => id));
    expect(ids).toHaveLength(2);
  });
  expect(ids[1]).toBe(second);
});

test('a message that was read is not read again, unless another relay had its partition', async () => {
  await fixture.fill(keys(20));
  await reader.read(PARTITIONS);
  await reader.read(PARTITIONS);
  expect(queue.size).toBe(20);
  expect(reader.isCurrent(0)).toBe(true);
  // Another relay sends half of them and returns the partitions.
  await client.query('delete from eventing.outbox where position % 2 = 0');
  tenure += 1;
  expect(reader.isCurrent(0)).toBe(false);
  queue.keepOnly((partition) => reader.isCurrent(partition));
  expect(await readAndSend()).toHaveLength(10);
});

test('a partition that was about to be released is read from its beginning', async () => {
  await fixture.fill(keys(20));
  await reader.read(PARTITIONS);
  queue.takeOf('key-7');
  reader.keepOnly(new Set());
  queue.keepOnly((partition) => reader.isCurrent(partition));
  expect(queue.size).toBe(0);
  await reader.read(PARTITIONS);
  // All but the one in flight, which is known.
  expect(queue.size).toBe(19);
});

test('messages that are not sent do not accumulate in memory', async () => {
  await fixture.fill(['hot'], 2_000);
  for (let i = 0; i < 20; i++) await reader.read(PARTITIONS);
  expect(queue.size).toBe(200);
  // They are read by key when there is room.
  const positions: number[] = [];
  while (reader.hasMore || positions.length < 2_000) positions.push(...(await readAndSend()).map((it) => it.position));
  expect(positions).toHaveLength(2_000);
  expect(positions).toEqual(positions.toSorted((one, other) => one - other));
});

test('what follows a held message is not read, and what is before it is', async () => {
  await fixture.fill(['k', 'other'], 3);
  await reader.read(PARTITIONS);
  const [first, second] = [queue.takeOf('k'), queue.takeOf('other')];
  await client.query(`update eventing.outbox set next_attempt_at = now() + interval '1 hour' where id = $1`, [
    first.id,
  ]);
  reader.hold(first);
  queue.drop(first);
  queue.requeue(second);
  await fixture.fill(['k', 'other']);
  expect((await readAndSend()).map(({ orderingKey }) => orderingKey)).toEqual(['other', 'other', 'other', 'other']);
});

test('a message that is held while more of its key is read keeps them back', async () => {
  await fixture.fill(['k']);
  await reader.read(PARTITIONS);
  const first = queue.takeOf('k');
  await fixture.fill(['k'], 2);
  let isHeld = false;
  onQuery = (text) => {
    // The page was read, and its keys are looked up.
    if (isHeld || !text.includes('wanted.key, o.position')) return;
    isHeld = true;
    reader.hold(first);
    queue.drop(first);
  };
  await reader.read(PARTITIONS);
  expect([isHeld, queue.size]).toEqual([true, 0]);
});
