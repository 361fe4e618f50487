import { setTimeout as delay } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { Client } from 'pg';
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

test('every message is sent once, in order of its key, and marked as sent', async () => {
  await fixture.fill(keys(60), 20);
  fixture.relay();
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(1200);
  const inFiveMinutes = "resend_at between now() + interval '4 min' and now() + interval '5 min'";
  expect(await fixture.count('relayed', inFiveMinutes)).toBe(1200);
});

test('no call holds two messages of a key, nor more than a hundred messages', async () => {
  await fixture.fill(keys(150), 4);
  fixture.relay();
  await fixture.waitUntilSent();
  for (const { entries } of fixture.fakeDaprd.calls) {
    expect(new Set(entries.map(({ metadata }) => metadata?.partitionKey)).size).toBe(entries.length);
    expect(entries.length).toBeLessThanOrEqual(100);
  }
});

test('a message is sent exactly as it is stored', async () => {
  const [id] = await fixture.fill(['k']);
  await fixture.database.sql(
    `update eventing.outbox set envelope = envelope || '{"big": 12345678901234567890.5, "text": "ü\\u2028"}'`,
  );
  fixture.relay();
  await fixture.waitUntilSent();
  const [{ entries }] = fixture.fakeDaprd.calls as [(typeof fixture.fakeDaprd.calls)[number]];
  expect(entries).toMatchObject([{ entryId: id, event: { id, text: 'ü\u2028' }, metadata: { partitionKey: 'k' } }]);
});

test('an announced message is sent at once, however long the poll interval', async () => {
  fixture.relay({ poll: { minMs: 600_000, maxMs: 600_000 } });
  await eventually(() =>
    expect(fixture.log).toContainEqual(expect.objectContaining({ msg: 'leases rebalanced', partitions: 32 })),
  );
  for (const key of keys(5)) {
    await fixture.fill([key]);
    await fixture.wake();
    await fixture.waitUntilSent();
  }
});

test('an idle relay runs at most one statement a second and still sends announced messages', async () => {
  const query = jest.spyOn(Client.prototype, 'query');
  const relay = fixture.relay({ poll: undefined, resendPauseMs: undefined });
  await fixture.fill(['k']);
  await fixture.waitUntilSent();
  await fixture.database.sql('delete from eventing.relayed');
  const statements = () => query.mock.calls.length;
  // A busy machine makes a relay slower, never faster.
  await eventually(
    async () => {
      const [since, before] = [performance.now(), statements()];
      await delay(6_000);
      expect(statements() - before).toBeLessThanOrEqual((performance.now() - since) / 1_000);
    },
    { timeoutMs: 40_000 },
  );
  await relay.check();
  await fixture.fill(['k']);
  await fixture.wake();
  await fixture.waitUntilSent();
}, 60_000);

test('an unannounced message is found by polling', async () => {
  fixture.relay();
  await eventually(() =>
    expect(fixture.log).toContainEqual(expect.objectContaining({ msg: 'leases rebalanced', partitions: 32 })),
  );
  await fixture.fill(['k']);
  await fixture.waitUntilSent();
});

test('a message confirmed before it is marked as sent stays published', async () => {
  const [id] = await fixture.fill(['k']);
  fixture.fakeDaprd.answer = async () => {
    await fixture.database.sql(
      `with back as (delete from eventing.outbox where id = $1 returning *) insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select id, event_id, channel, topic, target, attempts, created_at, now() from back`,
      [id],
    );
    return 'accept' as const;
  };
  fixture.relay();
  await fixture.waitUntilSent();
  await fixture.fill(['k']);
  await fixture.waitUntilSent();
  expect(await fixture.count('relayed', `id = '${id}'`)).toBe(0);
  expect(await fixture.count('published', `id = '${id}'`)).toBe(1);
});

test('a message locked by a hanging recorder delays nothing and is not sent repeatedly', async () => {
  const [locked] = await fixture.fill(['locked']);
  await fixture.database.sql('begin');
  await fixture.database.sql('select 1 from eventing.outbox where id = $1 for update', [locked]);
  fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'locked')).toEqual([1]));
  // On the same connection the rows would not be visible before the commit.
  await fixture.database.sql('commit');
  await fixture.waitUntilSent();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(1);
});

test('uncommitted messages do not delay others', async () => {
  fixture.relay();
  const slow = new Client(fixture.database.urls.owner);
  await slow.connect();
  await slow.query(`begin; insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
    select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'slow', '{"id": "x", "partitionkey": "slow", "n": 1}'`);
  await fixture.fill(keys(40), 2);
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  await slow.query('commit');
  await eventually(() => expect(fixture.fakeDaprd.firstArrivals('lamp-internal', 'slow')).toEqual([1]));
  await slow.end();
});

test('a stopping relay finishes and marks the calls in flight and begins no other', async () => {
  await fixture.fill(keys(3), 3);
  const { promise: inFlight, resolve: started } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  fixture.fakeDaprd.answer = async () => {
    started();
    await released;
    return 'accept' as const;
  };
  const relay = fixture.relay();
  await inFlight;
  const stopped = fixture.stop(relay);
  release();
  await stopped;
  expect(fixture.fakeDaprd.arrivals).toHaveLength(3);
  expect(await fixture.count('relayed')).toBe(3);
  expect(await fixture.count('outbox')).toBe(6);
});
