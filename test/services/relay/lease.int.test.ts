import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { pino } from 'pino';
import { Lease } from '../../../services/relay/lease.ts';
import { openLease } from '../../../services/relay/lease-queries.ts';
import { MOST_UNMARKED } from '../../../services/relay/marker.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeDaprd } from './fake-daprd.ts';
import { keys, RelayFixture } from './fixture.ts';
import { RelayProcess } from './relay-process.ts';

let fixture: RelayFixture;
beforeAll(async () => {
  fixture = await RelayFixture.open();
});
afterEach(() => fixture.reset());
afterAll(() => fixture[Symbol.asyncDispose]());

/** Returns the number of partitions of each holder, smallest first. */
async function shares(): Promise<number[]> {
  const rows = await fixture.database.sql<{ count: number }>(
    `select count(*)::int from pg_locks where locktype = 'advisory' and classid = 7002 and granted
       and database = (select oid from pg_database where datname = current_database()) group by pid order by 1`,
  );
  return rows.map(({ count }) => count);
}
const openLeaseOf = ({ database }: RelayFixture) =>
  Lease.open({ databaseUrl: database.urls.relay, onWork: () => undefined, log: pino({ enabled: false }) });
const waitForShares = (...expected: number[]) => eventually(async () => expect(await shares()).toEqual(expected));

test('relays share the partitions evenly as relays start and stop', async () => {
  const [first, second] = [fixture.relay(), fixture.relay()];
  await waitForShares(16, 16);
  fixture.relay();
  await waitForShares(10, 11, 11);
  await fixture.stop(first);
  await waitForShares(16, 16);
  await fixture.stop(second);
  await waitForShares(32);
});

test('a relay that starts or stops wakes the others, which may be idle', async () => {
  const other = new Client(fixture.database.urls.owner);
  await other.connect();
  let wakeUps = 0;
  other.on('notification', () => wakeUps++);
  await other.query('listen eventing_outbox');
  const relay = fixture.relay();
  await eventually(() => expect(wakeUps).toBe(1));
  await relay.check().catch(() => undefined);
  await fixture.stop(relay);
  await eventually(() => expect(wakeUps).toBe(2));
  await other.end();
});

test('a relay that shuts down hands over at once, in order and without repeats', async () => {
  const [first] = [fixture.relay(), fixture.relay()];
  await waitForShares(16, 16);
  await fixture.fill(keys(50), 40);
  await eventually(() => expect(fixture.fakeDaprd.arrivals.length).toBeGreaterThan(200));
  await fixture.stop(first);
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(2000);
});

test('a batch in progress keeps its partitions until it is done', async () => {
  await fixture.fill(keys(40), 2);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  fixture.fakeDaprd.answer = async () => {
    await released;
    return 'accept' as const;
  };
  fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.calls.length).toBeGreaterThan(0));
  fixture.relay();
  // The first relay gives the upper half away, except the partitions of its batch.
  const [{ needed } = { needed: 0 }] = await fixture.database.sql<{ needed: number }>(
    'select count(distinct partition)::int as needed from eventing.outbox where partition >= 16',
  );
  await waitForShares(16 - needed, 16 + needed);
  release();
  await waitForShares(16, 16);
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals).toHaveLength(80);
});

test('a cut connection repeats at most the calls in flight', async () => {
  await fixture.fill(keys(40), 40);
  const relay = fixture.relay();
  await eventually(() => expect(fixture.fakeDaprd.arrivals.length).toBeGreaterThan(100));
  await fixture.database.sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay' and datname = current_database()`,
  );
  await eventually(() => expect(fixture.warnings()).toContain('lost lease, reacquiring'));
  await fixture.waitUntilSent();
  fixture.expectInOrder();
  expect(fixture.fakeDaprd.arrivals.length).toBeLessThanOrEqual(1600 + 40);
  await eventually(() => relay.check());
});

test('a lease behind a transaction-pooling pooler is lost with a reason', async () => {
  const lease = await openLeaseOf(fixture);
  // Simulates another relay that is given the same connection.
  await lease.query(`select set_config('relay.lease', 'another', false)`);
  await once(lease.lost, 'abort');
  expect(lease.lost.reason).toMatchObject({ message: expect.stringMatching(/pooler/) });
});

test('a relay with a read-only connection is not ready until new connections can write', async () => {
  const role = `role lamp_relay in database ${new URL(fixture.database.urls.relay).pathname.slice(1)}`;
  await fixture.database.sql(`alter ${role} set default_transaction_read_only = on`);
  const relay = fixture.relay();
  await eventually(() => expect(fixture.warnings()).toContain('lost lease, reacquiring'));
  await expect(relay.check()).rejects.toThrow('no lease');
  await fixture.database.sql(`alter ${role} reset default_transaction_read_only`);
  await fixture.fill(keys(3));
  await fixture.waitUntilSent();
  await relay.check();
});

test('a lease whose connection becomes read-only is lost, even without messages to send', async () => {
  const lease = await openLeaseOf(fixture);
  await lease.query('set default_transaction_read_only = on');
  await once(lease.lost, 'abort');
  expect(lease.lost.reason).toMatchObject({ code: '25006' });
});

test('a lease has its own session settings, not those of its role', async () => {
  const role = `role lamp_relay in database ${new URL(fixture.database.urls.relay).pathname.slice(1)}`;
  await fixture.database.sql(`alter ${role} set DateStyle = German`);
  await fixture.database.sql(`alter ${role} set default_transaction_isolation = 'repeatable read'`);
  await using lease = await openLeaseOf(fixture);
  expect(
    await lease.query(
      `select current_setting('DateStyle') as style, current_setting('transaction_isolation') as isolation`,
    ),
  ).toEqual([{ style: expect.stringMatching(/^ISO/), isolation: 'read committed' }]);
  await fixture.database.sql(`alter ${role} reset all`);
});

test('a connection whose client stops reading is ended by PostgreSQL', async () => {
  const client = new Client({ connectionString: fixture.database.urls.relay, application_name: 'stuck' });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(openLease('22222222-2222-4222-8222-222222222222'));
  const { stream } = (client as unknown as { connection: { stream: NodeJS.ReadableStream & { destroy(): void } } })
    .connection;
  client.query(`select repeat('x', 1000000) from generate_series(1, 100)`).catch(() => undefined);
  stream.pause();
  const openConnections = `select 1 from pg_stat_activity where application_name = 'stuck'`;
  await eventually(async () => expect(await fixture.database.sql(openConnections)).toEqual([]), { timeoutMs: 15_000 });
  stream.destroy();
});

describe('Two relay processes', () => {
  let processes: RelayProcess[];
  let daprds: FakeDaprd[];
  beforeEach(async () => {
    daprds = [await FakeDaprd.open(), await FakeDaprd.open()];
    const databaseUrl = fixture.database.urls.relay;
    processes = daprds.map(({ port }) => new RelayProcess({ databaseUrl, daprPort: port }));
    await waitForShares(16, 16);
  });
  afterEach(async () => {
    for (const resource of [...processes, ...daprds]) await resource[Symbol.asyncDispose]();
  });
  const arrivals = () => daprds.flatMap((daprd) => daprd.arrivals).sort((a, b) => a.at - b.at);
  const expectInOrder = () => {
    fixture.fakeDaprd.arrivals.push(...arrivals());
    fixture.expectInOrder();
  };

  test('a killed relay is replaced faster than a frozen one, without loss or disorder', async () => {
    await fixture.fill(keys(60), 60);
    await eventually(() => expect(daprds[0]!.arrivals.length).toBeGreaterThan(100));
    const killed = performance.now();
    await processes[0]!.end('SIGKILL');
    await waitForShares(32);
    // PostgreSQL sees the connection close. A frozen process would be detected after 5 s.
    expect(performance.now() - killed).toBeLessThan(5_000);
    await fixture.waitUntilSent();
    expectInOrder();
    // The calls in flight of the killed relay are repeated, at most one message of each key, and what was not marked yet.
    expect(arrivals().length).toBeLessThanOrEqual(3600 + 60 + MOST_UNMARKED);
  });

  test('a frozen relay is replaced, and repeats at most its calls in flight when it continues', async () => {
    for (const daprd of daprds) {
      daprd.answer = async () => {
        await delay(5);
        return 'accept' as const;
      };
    }
    await fixture.fill(keys(60), 100);
    await eventually(() => expect(daprds[0]!.arrivals.length).toBeGreaterThan(100));
    processes[0]!.signal('SIGSTOP');
    await eventually(async () => expect(await shares()).toEqual([32]), { timeoutMs: 10_000 });
    await fixture.waitUntilSent();
    expectInOrder();
    const seen = daprds[0]!.arrivals.length;
    processes[0]!.signal('SIGCONT');
    await eventually(() => expect(processes[0]!.hasLogged(/lost lease/)).toBe(true));
    await waitForShares(16, 16);
    const late = daprds[0]!.arrivals.slice(seen);
    expect(new Set(late.map(({ key }) => key)).size).toBe(late.length);
  }, 40_000);

  test('a relay stopped by SIGTERM exits with 0, and the other gets all partitions', async () => {
    expect(await processes[0]!.end('SIGTERM')).toBe(0);
    await waitForShares(32);
  });
});
