import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { pino } from 'pino';
import { Lease } from '../../../services/relay/lease.ts';
import { openLease } from '../../../services/relay/lease-queries.ts';
import { eventually } from '../../support/eventually.ts';
import { keys, RelayLab } from './lab.ts';
import { RelayProcess } from './relay-process.ts';
import { Sink } from './sink.ts';

let lab: RelayLab;
beforeAll(async () => {
  lab = await RelayLab.open();
});
afterEach(() => lab.clear());
afterAll(() => lab[Symbol.asyncDispose]());

/** Partitions by holder, the smallest share first. */
async function shares(): Promise<number[]> {
  const rows = await lab.database.sql<{ count: number }>(
    `select count(*)::int from pg_locks where locktype = 'advisory' and classid = 7002 and granted
       and database = (select oid from pg_database where datname = current_database()) group by pid order by 1`,
  );
  return rows.map(({ count }) => count);
}
const shared = (...expected: number[]) => eventually(async () => expect(await shares()).toEqual(expected));

test('relays share the partitions evenly, whoever comes and goes', async () => {
  const [first, second] = [lab.relay(), lab.relay()];
  await shared(16, 16);
  lab.relay();
  await shared(10, 11, 11);
  await lab.stop(first);
  await shared(16, 16);
  await lab.stop(second);
  await shared(32);
});

test('a relay that is stopped in order hands over at once, in order and without a repeat', async () => {
  const [first] = [lab.relay(), lab.relay()];
  await shared(16, 16);
  await lab.fill(keys(50), 40);
  await eventually(() => expect(lab.sink.arrivals.length).toBeGreaterThan(200));
  await lab.stop(first);
  await lab.relayedAll();
  lab.expectInOrder();
  expect(lab.sink.arrivals).toHaveLength(2000);
});

test('a batch in work keeps its partitions until it is done', async () => {
  await lab.fill(keys(40), 2);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  lab.sink.answer = async () => {
    await released;
    return 'accept' as const;
  };
  lab.relay();
  await eventually(() => expect(lab.sink.calls.length).toBeGreaterThan(0));
  lab.relay();
  // Of the upper half, which it gives away, the first keeps what its batch needs.
  const [{ needed } = { needed: 0 }] = await lab.database.sql<{ needed: number }>(
    'select count(distinct partition)::int as needed from eventing.outbox where partition >= 16',
  );
  await shared(16 - needed, 16 + needed);
  release();
  await shared(16, 16);
  await lab.relayedAll();
  lab.expectInOrder();
  expect(lab.sink.arrivals).toHaveLength(80);
});

test('a connection that is cut costs a repeat at most', async () => {
  await lab.fill(keys(40), 40);
  const relay = lab.relay();
  await eventually(() => expect(lab.sink.arrivals.length).toBeGreaterThan(100));
  await lab.database.sql(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relay' and datname = current_database()`,
  );
  await eventually(() => expect(lab.complaints()).toContain('has no lease: starting over'));
  await lab.relayedAll();
  lab.expectInOrder();
  expect(lab.sink.arrivals.length).toBeLessThanOrEqual(1600 + 40);
  await eventually(() => relay.check());
});

test('a pooler that shares connections among clients is found out', async () => {
  const lease = await Lease.open({
    databaseUrl: lab.database.urls.relay,
    onWork: () => undefined,
    log: pino({ enabled: false }),
  });
  // What another relay does that is handed the same connection.
  await lease.query(`select set_config('relay.lease', 'another', false)`);
  await once(lease.lost, 'abort');
  expect(lease.lost.reason).toMatchObject({ message: expect.stringMatching(/pooler/) });
});

test('a connection that takes no answers is ended by PostgreSQL, as an idle one is', async () => {
  const client = new Client({ connectionString: lab.database.urls.relay, application_name: 'stuck' });
  client.on('error', () => undefined);
  await client.connect();
  await client.query(openLease('22222222-2222-4222-8222-222222222222'));
  const { stream } = (client as unknown as { connection: { stream: NodeJS.ReadableStream & { destroy(): void } } })
    .connection;
  client.query(`select repeat('x', 1000000) from generate_series(1, 100)`).catch(() => undefined);
  stream.pause();
  const alive = `select 1 from pg_stat_activity where application_name = 'stuck'`;
  await eventually(async () => expect(await lab.database.sql(alive)).toEqual([]), { timeoutMs: 15_000 });
  stream.destroy();
});

describe('Of two relay processes', () => {
  let processes: RelayProcess[];
  let sinks: Sink[];
  beforeEach(async () => {
    sinks = [await Sink.open(), await Sink.open()];
    processes = sinks.map(({ port }) => new RelayProcess({ databaseUrl: lab.database.urls.relay, daprPort: port }));
    await shared(16, 16);
  });
  afterEach(async () => {
    for (const one of [...processes, ...sinks]) await one[Symbol.asyncDispose]();
  });
  const arrivals = () => sinks.flatMap((sink) => sink.arrivals).sort((a, b) => a.at - b.at);
  const expectInOrder = () => {
    lab.sink.arrivals.push(...arrivals());
    lab.expectInOrder();
  };

  test('one is killed: the other takes over sooner than from a frozen one, and nothing is lost or first relayed out of order', async () => {
    await lab.fill(keys(60), 60);
    await eventually(() => expect(sinks[0]!.arrivals.length).toBeGreaterThan(100));
    const killed = performance.now();
    await processes[0]!.end('SIGKILL');
    await shared(32);
    // PostgreSQL sees the connection end. It would wait 5 s for a sign of life from one that is frozen.
    expect(performance.now() - killed).toBeLessThan(5_000);
    await lab.relayedAll();
    expectInOrder();
    // A wave of the dead one's keys, at most, is repeated.
    expect(arrivals().length).toBeLessThanOrEqual(3600 + 60);
  });

  test('one is frozen: the other takes over; awake again, it repeats the wave in flight at most and begins no other', async () => {
    for (const sink of sinks) {
      sink.answer = async () => {
        await delay(5);
        return 'accept' as const;
      };
    }
    await lab.fill(keys(60), 100);
    await eventually(() => expect(sinks[0]!.arrivals.length).toBeGreaterThan(100));
    processes[0]!.signal('SIGSTOP');
    await eventually(async () => expect(await shares()).toEqual([32]), { timeoutMs: 10_000 });
    await lab.relayedAll();
    expectInOrder();
    const seen = sinks[0]!.arrivals.length;
    processes[0]!.signal('SIGCONT');
    await eventually(() => expect(processes[0]!.said(/has no lease/)).toBe(true));
    await shared(16, 16);
    const late = sinks[0]!.arrivals.slice(seen);
    expect(new Set(late.map(({ key }) => key)).size).toBe(late.length);
  }, 40_000);

  test('one is told to stop: it exits 0, and the other has everything', async () => {
    expect(await processes[0]!.end('SIGTERM')).toBe(0);
    await shared(32);
  });
});
