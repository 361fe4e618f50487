import { Client } from 'pg';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayFixture } from './fixture.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterEach(() => fixture.reset());
afterAll(() => fixture[Symbol.asyncDispose]());

const arrived = (key: string) => fixture.fakeDaprd.firstArrivals('lamp-internal', key);
/** A relay that looks for late and released messages once a minute only. */
const withoutRounds = () => fixture.relay({ poll: { minMs: 10, maxMs: 60_000 } });
const insert = (key: string, n: number) =>
  `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
   select gen_random_uuid(), gen_random_uuid(), 'internal', 'lamp-internal', '${key}', '{"id": "x", "partitionkey": "${key}", "n": ${n}}'`;

async function connect(): Promise<Client> {
  const client = new Client(fixture.database.urls.owner);
  await client.connect();
  return client;
}

test('a message that commits after later positions is sent before the next one of its key', async () => {
  withoutRounds();
  const slow = await connect();
  await slow.query(`begin; ${insert('slow', 1)}`);
  // These have later positions, and are sent before the first one is visible.
  await fixture.fill(keys(100), 2);
  await fixture.wake();
  await fixture.waitUntilSent();
  await slow.query('commit');
  await fixture.database.sql(insert('slow', 2));
  await fixture.wake();
  await eventually(() => expect(arrived('slow')).toEqual([1, 2]));
  await slow.end();
});

test('a message that commits late is sent, also while a transaction runs that is older', async () => {
  fixture.relay();
  const [oldest, slow] = [await connect(), await connect()];
  await oldest.query('begin; create temporary table mark (n int)');
  await slow.query(`begin; ${insert('slow', 1)}`);
  await fixture.fill(keys(100), 2);
  await fixture.waitUntilSent();
  await slow.query('commit');
  await eventually(() => expect(arrived('slow')).toEqual([1]));
  for (const client of [oldest, slow]) await client.end();
});

test('a key goes on when its held message is confirmed after all', async () => {
  const [held] = await fixture.fill(['k'], 3);
  await fixture.database.sql(
    `update eventing.outbox set attempts = 1, next_attempt_at = now() + interval '1 hour' where id = $1`,
    [held],
  );
  fixture.relay();
  await fixture.fill(['other']);
  await eventually(() => expect(arrived('other')).toEqual([1]));
  expect(arrived('k')).toEqual([]);
  await fixture.database.sql('delete from eventing.outbox where id = $1', [held]);
  await eventually(() => expect(arrived('k')).toEqual([2, 3]));
});

test('released messages are sent with all that waits behind them, in order', async () => {
  await fixture.fill(keys(3), 60);
  const park = `update eventing.outbox set parked_at = now() where position in (select min(position) from eventing.outbox group by ordering_key)`;
  await fixture.database.sql(park);
  fixture.relay();
  await fixture.fill(['other']);
  await eventually(() => expect(arrived('other')).toEqual([1]));
  await fixture.database.sql(
    'update eventing.outbox set parked_at = null, next_attempt_at = now() where parked_at is not null',
  );
  await fixture.fill(keys(3), 2);
  await fixture.waitUntilSent();
  fixture.expectInOrder();
});

test('refused keys with hundreds of messages do not keep back new messages of other keys', async () => {
  await fixture.fill(['bad-1', 'bad-2'], 300);
  fixture.fakeDaprd.answer = () => ({ refuse: ({ metadata }) => metadata!.partitionKey!.startsWith('bad') });
  fixture.relay({ retryPolicy: { attempts: 100, firstRetrySeconds: 0.01 } });
  const callsOfBad = () =>
    fixture.fakeDaprd.calls.filter(({ entries }) =>
      entries.every(({ metadata }) => metadata!.partitionKey!.startsWith('bad')),
    );
  for (let round = 1; round <= 3; round++) {
    // They are retried while nothing else is there to be accepted, which looks like an outage.
    const before = callsOfBad().length;
    await eventually(() => expect(callsOfBad().length).toBeGreaterThan(before + 3));
    await fixture.fill(keys(3));
    await eventually(() => expect(keys(3).map(arrived)).toEqual(keys(3).map(() => expect.arrayContaining([round]))));
  }
  fixture.fakeDaprd.answer = () => 'accept';
  await fixture.waitUntilSent();
  fixture.expectInOrder();
});

test('a message that commits late goes before the next one, although a later repeat was sent', async () => {
  withoutRounds();
  const slow = await connect();
  await slow.query(`begin; ${insert('slow', 1)}`);
  // A repeat takes its position without the lock of the aggregate's head.
  await fixture.database.sql(insert('slow', 0));
  await fixture.wake();
  await fixture.waitUntilSent();
  await slow.query('commit');
  await fixture.database.sql(insert('slow', 2));
  await fixture.wake();
  await eventually(() => expect(arrived('slow')).toEqual([0, 1, 2]));
  await slow.end();
});

test('a message that commits late is sent, although a later repeat of its key is held', async () => {
  fixture.fakeDaprd.answer = () => ({ refuse: ({ event }) => event.n === 0 });
  fixture.relay({ retryPolicy: { attempts: 100, firstRetrySeconds: 0.1 } });
  const slow = await connect();
  await slow.query(`begin; ${insert('slow', 1)}`);
  await fixture.fill(keys(3));
  await fixture.database.sql(insert('slow', 0));
  await eventually(async () => {
    await fixture.fill(['other']);
    expect(await fixture.count('outbox', `ordering_key = 'slow' and next_attempt_at is not null`)).toBe(1);
  });
  await slow.query('commit');
  fixture.fakeDaprd.answer = () => 'accept';
  await fixture.waitUntilSent();
  expect(arrived('slow').toSorted()).toEqual([0, 1]);
  await slow.end();
});

test('a partition that another relay had meanwhile is read from its beginning', async () => {
  const first = withoutRounds();
  await fixture.fill(keys(64), 2);
  await fixture.wake();
  await fixture.waitUntilSent();
  // Half of the partitions move to the second relay, which holds back their messages, and back again.
  const second = fixture.relay({ retryPolicy: { attempts: 1, firstRetrySeconds: 3_600 } });
  await eventually(async () => {
    await second.check();
    expect(fixture.log.filter(({ partitions }) => partitions === 16).length).toBeGreaterThan(1);
  });
  await fixture.stop(second);
  await eventually(() => expect(fixture.log.at(-1)).toMatchObject({ partitions: 32 }));
  await first.check();
  await fixture.fill(keys(64), 2);
  await fixture.wake();
  await fixture.waitUntilSent();
  fixture.expectInOrder();
});

test('a statement that takes too long pauses its topic; the others go on under the same lease', async () => {
  // Marking messages of one topic takes longer than the lease's limit of ten seconds.
  await fixture.database.sql(`
    create function eventing.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(11); return new; end $$;
    create trigger slow before insert on eventing.relayed for each row when (new.topic = 'lamp-external') execute function eventing.slow()`);
  fixture.relay();
  try {
    await fixture.fill(['a'], 1, 'lamp-external');
    await eventually(() => expect(fixture.warnings()).toEqual(['statement took too long, this topic pauses']), {
      timeoutMs: 40_000,
    });
    await fixture.fill(keys(10), 2);
    await eventually(async () => expect(await fixture.count('outbox', "topic = 'lamp-internal'")).toBe(0), {
      timeoutMs: 40_000,
    });
    expect(fixture.warnings()).not.toContain('lost lease, reacquiring');
  } finally {
    await fixture.database.sql('drop trigger slow on eventing.relayed; drop function eventing.slow');
  }
  await fixture.waitUntilSent(60_000);
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(21);
}, 150_000);
