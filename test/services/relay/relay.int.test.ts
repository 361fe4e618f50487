import { Client } from 'pg';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayLab } from './lab.ts';

let lab: RelayLab;
beforeAll(async () => {
  lab = await RelayLab.open();
});
afterEach(() => lab.clear());
afterAll(() => lab[Symbol.asyncDispose]());

test('every message is relayed once, each key’s in order, and noted as relayed', async () => {
  await lab.fill(keys(60), 20);
  lab.relay();
  await lab.relayedAll();
  lab.expectInOrder();
  expect(lab.sink.arrivals).toHaveLength(1200);
  expect(await lab.count('relayed', "resend_at between now() + interval '4 min' and now() + interval '5 min'")).toBe(
    1200,
  );
});

test('no call holds two messages of a key, nor more than a hundred', async () => {
  await lab.fill(keys(150), 4);
  lab.relay();
  await lab.relayedAll();
  for (const { entries } of lab.sink.calls) {
    expect(new Set(entries.map(({ metadata }) => metadata?.partitionKey)).size).toBe(entries.length);
    expect(entries.length).toBeLessThanOrEqual(100);
  }
});

test('a message is sent exactly as it is stored', async () => {
  const [id] = await lab.fill(['k']);
  await lab.database.sql(
    `update eventing.outbox set envelope = envelope || '{"big": 12345678901234567890.5, "text": "ü\\u2028"}'`,
  );
  lab.relay();
  await lab.relayedAll();
  const [{ entries }] = lab.sink.calls as [(typeof lab.sink.calls)[number]];
  expect(entries).toMatchObject([{ entryId: id, event: { id, text: 'ü\u2028' }, metadata: { partitionKey: 'k' } }]);
});

test('an announced message goes at once, however seldom the relay looks by itself', async () => {
  lab.relay({ poll: { minMs: 600_000, maxMs: 600_000 } });
  await eventually(() => expect(lab.log).toContainEqual(expect.objectContaining({ msg: 'leases', partitions: 32 })));
  for (const key of keys(5)) {
    await lab.fill([key]);
    await lab.wake();
    await lab.relayedAll();
  }
});

test('a message that nobody announced goes as well', async () => {
  lab.relay();
  await eventually(() => expect(lab.log).toContainEqual(expect.objectContaining({ msg: 'leases', partitions: 32 })));
  await lab.fill(['k']);
  await lab.relayedAll();
});

test('a message that came back before it was noted as relayed stays published', async () => {
  const [id] = await lab.fill(['k']);
  lab.sink.answer = async () => {
    await lab.database.sql(
      `with back as (delete from eventing.outbox where id = $1 returning *) insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
       select id, event_id, channel, topic, target, attempts, created_at, now() from back`,
      [id],
    );
    return 'accept' as const;
  };
  lab.relay();
  await lab.relayedAll();
  await lab.fill(['k']);
  await lab.relayedAll();
  expect(await lab.count('relayed', `id = '${id}'`)).toBe(0);
  expect(await lab.count('published', `id = '${id}'`)).toBe(1);
});

test('a recorder that hangs while it holds a message keeps nobody waiting, nor is the message sent again and again', async () => {
  const [held] = await lab.fill(['held']);
  await lab.database.sql('begin');
  await lab.database.sql('select 1 from eventing.outbox where id = $1 for update', [held]);
  lab.relay();
  await eventually(() => expect(lab.sink.firsts('lamp-internal', 'held')).toEqual([1]));
  // On the same connection the rows would not be visible before the commit.
  await lab.database.sql('commit');
  await lab.relayedAll();
  expect(lab.sink.arrivals).toHaveLength(1);
});

test('messages that are not committed delay nobody else’s', async () => {
  lab.relay();
  const slow = new Client(lab.database.urls.owner);
  await slow.connect();
  await slow.query(`begin; insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
    select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', 'slow', '{"id": "x", "partitionkey": "slow", "n": 1}'`);
  await lab.fill(keys(40), 2);
  await lab.relayedAll();
  lab.expectInOrder();
  await slow.query('commit');
  await eventually(() => expect(lab.sink.firsts('lamp-internal', 'slow')).toEqual([1]));
  await slow.end();
});

test('when stopped, the wave in flight is finished and noted, and no other is begun', async () => {
  await lab.fill(keys(3), 3);
  const { promise: inFlight, resolve: begun } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  lab.sink.answer = async () => {
    begun();
    await released;
    return 'accept' as const;
  };
  const relay = lab.relay();
  await inFlight;
  const stopped = lab.stop(relay);
  release();
  await stopped;
  expect(lab.sink.arrivals).toHaveLength(3);
  expect(await lab.count('relayed')).toBe(3);
  expect(await lab.count('outbox')).toBe(6);
});
