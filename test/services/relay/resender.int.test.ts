import { jest } from '@jest/globals';
import { Faults } from '../../../services/relay/faults.ts';
import { eventually } from '../../support/eventually.ts';
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

/** Marks messages as published, as the recorder does. */
async function confirm(ids: readonly string[]): Promise<void> {
  await fixture.database.sql(
    `with back as (delete from eventing.relayed where id = any($1) returning *)
     insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
     select id, event_id, channel, topic, target, attempts, created_at, relayed_at from back`,
    [ids],
  );
}

/** Waits until all messages are sent, then backdates some of them. */
async function backdateSent(ids: readonly string[], secondsAgo: number): Promise<void> {
  await fixture.waitUntilSent();
  await fixture.database.sql(
    `update eventing.relayed set relayed_at = relayed_at - make_interval(secs => $2), resend_at = resend_at - make_interval(secs => $2)
      where id = any($1)`,
    [ids, secondsAgo],
  );
}
const sends = (id: string) => fixture.fakeDaprd.arrivals.filter((it) => it.id === id).length;

test('an unconfirmed message is resent with the same id until it is confirmed', async () => {
  const [lost, fine] = await fixture.fill(['lost', 'fine']);
  fixture.relay();
  await fixture.waitUntilSent();
  await confirm([fine!]);
  await backdateSent([lost!], 301);
  await eventually(() => expect(sends(lost!)).toBe(2));
  const inTenMinutes = "sends = 2 and resend_at between now() + interval '9 min' and now() + interval '10 min'";
  await eventually(async () => expect(await fixture.count('relayed', inTenMinutes)).toBe(1));
  await backdateSent([lost!], 601);
  await eventually(() => expect(sends(lost!)).toBe(3));
  await eventually(async () => expect(await fixture.count('relayed', "resend_at > now() + interval '19 min'")).toBe(1));
  await confirm([lost!]);
  const [later] = await fixture.fill(['later']);
  await backdateSent([later!], 301);
  await eventually(() => expect(sends(later!)).toBe(2));
  expect([sends(lost!), sends(fine!)]).toEqual([3, 1]);
});

test('a repeat is a call of its topic, which knows whether the circuit was open when it began', async () => {
  const [begin, end, record] = (['begin', 'end', 'record'] as const).map((name) => jest.spyOn(Faults.prototype, name));
  const [lost, fine] = await fixture.fill(['lost', 'fine']);
  fixture.relay();
  await fixture.waitUntilSent();
  await confirm([fine!]);
  for (const spy of [begin!, end!, record!]) spy.mockClear();
  await backdateSent([lost!], 301);
  await eventually(() =>
    expect(record!.mock.calls).toEqual([[[expect.objectContaining({ id: lost })], expect.anything(), false]]),
  );
  expect(begin).toHaveBeenCalledTimes(1);
  expect(end!.mock.calls).toEqual([[begin!.mock.results[0]!.value, true]]);
});

test('the interval between resends grows to an hour at most', async () => {
  const [lost, fine] = await fixture.fill(['lost', 'fine']);
  fixture.relay();
  await backdateSent([lost!], 301);
  await confirm([fine!]);
  await fixture.database.sql('update eventing.relayed set sends = 400');
  await eventually(() => expect(sends(lost!)).toBe(2));
  await eventually(async () =>
    expect(
      await fixture.count('relayed', "resend_at between now() + interval '59 min' and now() + interval '1 hour'"),
    ).toBe(1),
  );
});

test('only one message per partition is resent while nothing is confirmed, then all', async () => {
  const ids = await fixture.fill(keys(100), 3);
  const [{ partitions } = { partitions: 0 }] = await fixture.database.sql<{ partitions: number }>(
    'select count(distinct partition)::int as partitions from eventing.outbox',
  );
  fixture.relay();
  await backdateSent(ids, 301);
  await eventually(async () => expect(await fixture.count('relayed', 'sends = 2')).toBe(partitions));
  // The next poll finds the other messages due, but nothing confirmed, and does not resend them.
  await fixture.fill(['tick']);
  await fixture.waitUntilSent();
  expect(await fixture.count('relayed', 'sends = 2')).toBe(partitions);
  expect(fixture.warnings()).toEqual(['no confirmations, probing: the recorder or its sidecar may be down']);
  await confirm([ids[0]!]);
  await eventually(async () => expect(await fixture.count('relayed', 'sends = 2')).toBe(299), { timeoutMs: 15_000 });
}, 25_000);

test('the resender sends at most fifty messages at a time, with a pause between', async () => {
  const ids = await fixture.fill(keys(40), 3);
  const began = performance.now();
  fixture.relay();
  await backdateSent(ids.slice(1), 301);
  await confirm([ids[0]!]);
  fixture.fakeDaprd.calls.length = 0;
  await eventually(async () => expect(await fixture.count('relayed', 'sends = 2')).toBe(119), { timeoutMs: 15_000 });
  const again = fixture.fakeDaprd.calls.filter(({ entries }) => entries.length > 0);
  for (const [i, { at, entries }] of again.entries()) {
    expect(entries.length).toBeLessThanOrEqual(50);
    // Measured from the start: a delayed call is closer to the next one.
    expect(at - began).toBeGreaterThan(i * 100);
  }
}, 25_000);

test('nothing is resent during an outage, and a failed resend is not counted', async () => {
  const [lost, fine] = await fixture.fill(['lost', 'fine']);
  fixture.relay();
  await fixture.waitUntilSent();
  await confirm([fine!]);
  fixture.fakeDaprd.answer = () => ({ refuse: () => true });
  await backdateSent([lost!], 301);
  await eventually(async () =>
    expect(await fixture.count('relayed', "sends = 1 and resend_at > now() + interval '4 min'")).toBe(1),
  );
  expect(sends(lost!)).toBe(1);
});

test('two relays resend only messages of their own partitions', async () => {
  const ids = await fixture.fill(keys(30));
  fixture.relay();
  fixture.relay();
  await backdateSent(ids.slice(1), 301);
  await confirm([ids[0]!]);
  await eventually(async () => expect(await fixture.count('relayed', 'sends = 2')).toBe(29), { timeoutMs: 15_000 });
  expect(fixture.fakeDaprd.arrivals).toHaveLength(30 + 29);
});

test('a resend probes the circuit when no unsent message waits', async () => {
  const [lost] = await fixture.fill(['lost']);
  fixture.relay();
  await fixture.waitUntilSent();
  fixture.fakeDaprd.answer = () => 'reset';
  const [uncertain] = await fixture.fill(['uncertain']);
  await eventually(() => expect(fixture.warnings().length).toBeGreaterThan(0));
  // The broker had accepted it: the recorder removes it from the outbox, and nothing is left to probe with.
  await fixture.database.sql('delete from eventing.outbox where id = $1', [uncertain]);
  await backdateSent([lost!], 301);
  fixture.fakeDaprd.answer = () => 'accept';
  await eventually(() => expect(sends(lost!)).toBe(2));
});

test('a failing resend is logged as an outage and retried', async () => {
  const [lost] = await fixture.fill(['lost']);
  fixture.relay();
  await fixture.waitUntilSent();
  fixture.fakeDaprd.answer = () => 'reset';
  await backdateSent([lost!], 301);
  await eventually(() =>
    expect(fixture.warnings()).toContain('publishing failed, probing: messages wait, no attempts are spent'),
  );
  fixture.fakeDaprd.answer = () => 'accept';
  await eventually(() => expect(sends(lost!)).toBe(2));
});
