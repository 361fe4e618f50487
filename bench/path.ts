// Measures the whole path, from a business transaction to the effect in a consumer and the confirmation, on JetStream `single`,
// beside daprd that delivers the same messages to two bare Koa apps: `node bench/path.ts`.
import { v7 as uuid } from 'uuid';
import { RelayWakeUp } from '#eventing/outbox';
import { Progress } from '../local/progress.ts';
import { openBroker } from './broker.ts';
import { countCpu } from './cpu.ts';
import { makeEvents } from './events.ts';
import { benchFolder, emptyTables, openDatabase, until } from './harness.ts';
import { extras, openLamps, write } from './lamps.ts';
import { partOptions } from './options.ts';
import { openRawPublisher } from './publish.ts';
import { startRelay } from './relay-process.ts';
import { report, type Sample, Turns } from './report.ts';
import { startPublisher, startSubscriberSidecar } from './sidecar.ts';
import { median, type OpenLoopSample, openLoop, percentile } from './statistics.ts';
import { startApp } from './subscribers.ts';

const EVENTS = 3000;
/** Handled before the time counts, while the code is compiled. */
const WARM_UP = 600;
const CONNECTIONS = 8;
const OPEN_LOOP_SECONDS = 12;
const LOAD = 0.3;

const { rounds } = partOptions();
const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const folder = await benchFolder(stack);
const {
  database,
  relayUrl,
  appUrl,
  pid: postgres,
} = await openDatabase(folder, stack, progress, { commitTimes: true });
const broker = await openBroker(folder, stack, progress);
const publisher = await startPublisher(stack, broker, progress);
const wakeUp: RelayWakeUp = new RelayWakeUp(() => orm);
const orm = await openLamps(stack, { database, appUrl, connections: CONNECTIONS, wakeRelay: () => wakeUp.wake() });
const publishRaw = openRawPublisher(stack, publisher.port, 1);

/** Feeds events into a path. @returns when each one was due, started and done, by the id of its event or aggregate */
type Feed = (events: number, rate?: number) => Promise<Map<string, OpenLoopSample>>;

interface Way {
  readonly name: string;
  readonly consumer: 'orm-floor' | 'convergent';
  readonly recorder: 'confirm' | 'recorder';
  readonly replicas: number;
}
const floor: Way = { name: 'floor: daprd and two Koa apps', consumer: 'orm-floor', recorder: 'confirm', replicas: 1 };
const own: Way = { name: 'the path', consumer: 'convergent', recorder: 'recorder', replicas: 1 };
const replicated = [2, 4].map(
  (replicas): Way => ({ ...own, name: `the path, ${replicas} consumer replicas`, replicas }),
);

const turns = new Turns();
for (let round = 1; round <= rounds; round++)
  for (const way of [floor, own, ...replicated]) {
    const sample = await throughput(way);
    turns.add(way.name, sample);
    progress.print(`round ${round}, ${way.name}: ${Math.round(sample.value)} events/s`);
  }
const unit = 'events a second';
const group = turns.group({ title: 'from the transaction to the effect', unit, base: floor.name }, { [own.name]: 0.8 });
const rate = LOAD * group.rows.find(({ name }) => name === own.name)!.median;
const delays = new Turns();
for (let round = 1; round <= rounds; round++)
  for (const way of [floor, own]) delays.add(way.name, await latency(way, rate));
const delay = delays.group({
  title: `from the commit to the effect, at ${Math.round(rate)} a second`,
  unit: 'ms at p50',
});
const method = `turns of ${EVENTS} events, medians of ${rounds} rounds, ratios within a round; latencies at 30 % of the path's rate`;
report(progress, { part: 'path', rounds, method, groups: [group, delay] });

/** Feeds as fast as possible. */
async function throughput(way: Way): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  const { feed, pids } = await open(processes, way);
  await feed(WARM_UP);
  await handled(way, WARM_UP);
  const cpu = countCpu(pids);
  const since = Date.now();
  await feed(EVENTS);
  await handled(way, WARM_UP + EVENTS);
  const details = cpu(EVENTS);
  const { rows } = await database.query<{ last: number }>(`
    select extract(epoch from max(pg_xact_commit_timestamp(xmin)))::float8 * 1000 as last
      from (select xmin from effect union all select xmin from ${confirmationsOf(way)}) done`);
  return { value: (1000 * EVENTS) / (rows[0]!.last - since), details };
}

/** Feeds at a constant rate, whether or not the path keeps up. */
async function latency(way: Way, rate: number): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  const { feed } = await open(processes, way);
  await feed(WARM_UP);
  await handled(way, WARM_UP);
  const events = Math.ceil(rate * OPEN_LOOP_SECONDS);
  const fed = await feed(events, rate);
  await handled(way, WARM_UP + events);
  const { rows } = await database.query<{
    event: string;
    aggregate: string | null;
    stored: number | null;
    applied: number;
  }>(`
    select f.event_id as event, e.aggregate_id as aggregate, ${millisecondsOf('e')} as stored, ${millisecondsOf('f')} as applied
      from effect f left join eventing.event_store e on e.id = f.event_id`);
  const all = rows.flatMap(({ event, aggregate, stored, applied }) => {
    const sample = fed.get(aggregate ?? event);
    if (!sample) return [];
    // A late start counts, as if the path had delayed it.
    const late = sample.started - sample.due;
    return late + applied - (stored ?? performance.timeOrigin + sample.started);
  });
  if (all.length !== events) throw new Error(`${way.name}: ${all.length} of ${events} latencies`);
  progress.print(`${way.name}: ${median(all).toFixed(1)} ms`);
  return { value: median(all), details: { 'p99 ms': percentile(all, 99) } };
}

function millisecondsOf(row: string): string {
  return `extract(epoch from pg_xact_commit_timestamp(${row}.xmin))::float8 * 1000`;
}

function confirmationsOf({ recorder }: Way): string {
  return recorder === 'recorder' ? 'eventing.published' : 'floor_confirmed';
}

/** Starts the processes of a path. They are stopped by `processes`. */
async function open(
  processes: AsyncDisposableStack,
  way: Way,
): Promise<{ feed: Feed; pids: Record<string, number[]> }> {
  await emptyTables(database);
  await broker.purge();
  const common = {
    feeder: [process.pid],
    postgres: [postgres],
    nats: [broker.pid],
    'publishing daprd': [publisher.pid],
  };
  const pids: Record<string, number[]> = common;
  const apps = [
    { appId: 'recorder', program: way.recorder, replicas: 1 },
    { appId: 'consumer', program: way.consumer, replicas: way.replicas },
  ];
  for (const { appId, program, replicas } of apps) {
    await broker.createConsumer(appId);
    for (let replica = 1; replica <= replicas; replica++) {
      const app = await startApp(processes, { appId, program, databaseUrl: appUrl, reports: [] });
      const options = { appId, appPort: app.port, port: app.daprPort, concurrencyMode: 'single', folder } as const;
      const sidecar = await startSubscriberSidecar(processes, broker, progress, options);
      pids[appId] = [...(pids[appId] ?? []), app.pid];
      const daprd = `${appId}’s daprd`;
      pids[daprd] = [...(pids[daprd] ?? []), sidecar.pid];
    }
  }
  if (way.consumer === 'orm-floor') return { feed: feedRaw, pids };
  pids.relay = [await startRelay(processes, { database, relayUrl, daprPort: publisher.port })];
  return { feed: feedTransactions, pids };
}

async function feedRaw(events: number, rate?: number): Promise<Map<string, OpenLoopSample>> {
  const messages = makeEvents(events);
  const ids = messages.map(({ event }) => event.eventId);
  if (rate === undefined) {
    await publishRaw(messages);
    return new Map();
  }
  const samples = await openLoop(rate, events / rate, (n) => publishRaw([messages[n]!]));
  return new Map(samples.map((sample, n) => [ids[n]!, sample]));
}

async function feedTransactions(events: number, rate?: number): Promise<Map<string, OpenLoopSample>> {
  const ids = Array.from({ length: events }, () => uuid());
  const add = (id: string) => write(orm, id, false, extras['an event']);
  if (rate === undefined) {
    const waiting = ids.values();
    const work = async () => {
      for (const id of waiting) await add(id);
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, work));
    return new Map();
  }
  const samples = await openLoop(rate, events / rate, (n) => add(ids[n]!));
  return new Map(samples.map((sample, n) => [ids[n]!, sample]));
}

/** Waits until all effects and confirmations are there. @throws when there are more, or they take longer than a minute */
async function handled(way: Way, expected: number): Promise<void> {
  const read = async () => {
    const { rows } = await database.query<{ effects: number; events: number; confirmed: number }>(`
      select count(*)::int as effects, count(distinct event_id)::int as events,
        (select count(*)::int from ${confirmationsOf(way)}) as confirmed from effect`);
    const counts = Object.values(rows[0]!);
    if (counts.some((it) => it !== expected)) throw new Error(`${way.name}: ${counts.join(', ')} of ${expected}`);
  };
  await until(read, 100, 60_000);
}
