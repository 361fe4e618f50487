import { randomInt } from 'node:crypto';
import { jest } from '@jest/globals';
import { Lease } from '../../../services/relay/lease.ts';
import { Marker } from '../../../services/relay/marker.ts';
import { ReadyQueue } from '../../../services/relay/ready-queue.ts';
import { TopicRelay } from '../../../services/relay/topic-relay.ts';
import { eventually } from '../../support/eventually.ts';
import type { BulkEntry } from './fake-daprd.ts';
import { keys, RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterEach(async () => {
  jest.restoreAllMocks();
  await fixture.reset();
});
afterAll(() => fixture[Symbol.asyncDispose]());

const keyOf = ({ metadata }: BulkEntry) => metadata!.partitionKey!;

/** Lets calls wait until `open` is called. */
function gate(): { wait: () => Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { wait: () => promise, open: resolve };
}

test('a call without an answer delays neither other keys, nor new messages, nor marks', async () => {
  const { wait, open } = gate();
  fixture.fakeDaprd.answer = async (_, entries) => {
    if (entries.some((it) => keyOf(it).startsWith('slow'))) await wait();
    return 'accept' as const;
  };
  const slow = keys(10).map((key) => `slow-${key}`);
  await fixture.fill(slow, 90);
  fixture.relay();
  const started = () => new Set(fixture.fakeDaprd.calls.flatMap(({ entries }) => entries.map(keyOf)));
  await eventually(() => expect(started().size).toBe(10));
  expect(fixture.fakeDaprd.calls.length).toBeLessThan(4);
  for (const count of [3, 6]) {
    await fixture.fill(keys(50), 3);
    await fixture.wake();
    await eventually(async () => expect(await fixture.count('relayed')).toBe(50 * count));
  }
  expect(await fixture.count('outbox')).toBe(900);
  open();
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(1_200);
});

test('several calls are in flight, and never two messages of one key', async () => {
  const inFlight: string[][] = [];
  const { wait, open } = gate();
  let most = 0;
  let isKeyTwice = false;
  fixture.fakeDaprd.answer = async (_, entries) => {
    const call = entries.map(keyOf);
    inFlight.push(call);
    most = Math.max(most, inFlight.length);
    isKeyTwice ||= new Set(inFlight.flat()).size < inFlight.flat().length;
    // The first calls are answered when four are in flight.
    if (inFlight.length === 4) open();
    await wait();
    // In any order.
    for (let turns = randomInt(50); turns > 0; turns--) await new Promise(setImmediate);
    inFlight.splice(inFlight.indexOf(call), 1);
    return 'accept' as const;
  };
  await fixture.fill(keys(400), 5);
  fixture.relay();
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(2_000);
  expect([most, isKeyTwice]).toEqual([4, false]);
});

test('an outage that begins while several calls are in flight spends no attempt', async () => {
  const { wait, open } = gate();
  fixture.fakeDaprd.answer = async () => {
    await wait();
    return { refuse: () => true };
  };
  await fixture.fill(keys(400), 2);
  fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.calls).toHaveLength(4));
  open();
  await eventually(() => expect(fixture.fakeDaprd.calls.length).toBeGreaterThan(8));
  expect(fixture.fakeDaprd.calls.slice(4).map(({ entries }) => entries.length)).toEqual(
    fixture.fakeDaprd.calls.slice(4).map(() => 1),
  );
  const untouched = 'attempts = 0 and next_attempt_at is null and last_error is null';
  expect(await fixture.count('outbox', untouched)).toBe(800);
  fixture.fakeDaprd.answer = () => 'accept';
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.warnings()).toEqual(['publishing failed, probing: messages wait, no attempts are spent']);
});

test('an open circuit has one probe in flight, however many keys become ready', async () => {
  const { wait, open } = gate();
  fixture.fakeDaprd.answer = async () => {
    if (fixture.fakeDaprd.calls.length === 1) return { refuse: () => true };
    await wait();
    return 'accept' as const;
  };
  await fixture.fill(['first']);
  fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.calls).toHaveLength(2));
  const wake = jest.spyOn(TopicRelay.prototype, 'wake');
  await fixture.fill(keys(5));
  await eventually(() => expect(wake.mock.calls.length).toBeGreaterThan(8));
  expect(fixture.fakeDaprd.calls).toHaveLength(2);
  open();
  await fixture.waitUntilSent();
});

test('nothing is sent while too many accepted messages are not marked', async () => {
  const isFull = jest.spyOn(Marker.prototype, 'isFull', 'get').mockReturnValue(true);
  await fixture.fill(keys(3));
  fixture.relay();
  await eventually(() => expect(isFull.mock.calls.length).toBeGreaterThan(8));
  expect(fixture.fakeDaprd.calls).toEqual([]);
  isFull.mockReturnValue(false);
  await fixture.waitUntilSent();
});

test.each(['size', 'bytes'] as const)('nothing is read while the queue has too much (%s)', async (measure) => {
  const size = jest.spyOn(ReadyQueue.prototype, measure, 'get').mockReturnValue(1e9);
  await fixture.fill(keys(3));
  fixture.relay();
  await eventually(() => expect(size.mock.calls.length).toBeGreaterThan(8));
  expect(fixture.fakeDaprd.calls).toEqual([]);
  size.mockReturnValue(0);
  await fixture.waitUntilSent();
});

test('calls of one topic without an answer do not delay another topic', async () => {
  const { wait, open } = gate();
  fixture.fakeDaprd.answer = async (topic) => {
    if (topic === 'lamp-external') await wait();
    return 'accept' as const;
  };
  await fixture.fill(keys(400), 1, 'lamp-external');
  fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.calls).toHaveLength(4));
  await fixture.fill(keys(20), 3, 'lamp-internal');
  await eventually(async () => expect(await fixture.count('outbox', "topic = 'lamp-internal'")).toBe(0));
  expect(await fixture.count('outbox')).toBe(400);
  open();
  await fixture.waitUntilSent();
});

test('accepted messages that could not be marked in time are marked later, and not sent again', async () => {
  await fixture.fill(keys(400), 10);
  await fixture.database.sql('begin; lock table eventing.relayed in exclusive mode');
  fixture.relay();
  await eventually(() => expect(fixture.warnings()).toEqual(['statement took too long, this topic pauses']), {
    timeoutMs: 40_000,
  });
  await fixture.database.sql('commit');
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(4_000);
});

test('a lease that was not confirmed for long is confirmed before the next call', async () => {
  const age = jest.spyOn(Lease.prototype, 'ageMs', 'get').mockReturnValue(10_000);
  const { wait, open } = gate();
  const confirm = jest.spyOn(Lease.prototype, 'confirm').mockImplementation(wait);
  await fixture.fill(keys(3));
  fixture.relay();
  await eventually(() => expect(confirm).toHaveBeenCalledTimes(1));
  await eventually(() => expect(fixture.log).toContainEqual(expect.objectContaining({ partitions: 32 })));
  expect(fixture.fakeDaprd.calls).toEqual([]);
  age.mockReturnValue(0);
  open();
  await fixture.waitUntilSent();
});
