import type { Client } from 'pg';
import type { Progress } from '../local/progress.ts';
import type { Broker } from './broker.ts';
import { countCpu } from './cpu.ts';
import { emptyTables, until, walBytes } from './harness.ts';
import type { Sample } from './report.ts';
import { type Sidecar, startSubscriberSidecar } from './sidecar.ts';
import { median, type OpenLoopSample, percentile } from './statistics.ts';
import { startApp } from './subscribers.ts';

/** Handled before the time counts. While Node compiles, a delivery takes half as much time again. */
const WARM_UP = 2000;

export interface PipelineStage {
  readonly database: Client;
  readonly appUrl: string;
  /** Process id. */
  readonly postgres: number;
  readonly broker: Broker;
  readonly publisher: Sidecar;
  readonly folder: string;
  readonly progress: Progress;
}

/**
 * Feeds events in, as fast as possible, or with a rate in an open loop.
 * @returns with a rate: when each was due, started and done, by the id of its aggregate, or of its event
 */
export type Feed = (events: number, rate?: number) => Promise<ReadonlyMap<string, OpenLoopSample>>;

/** A way from something that feeds events to a table with their effects. */
export interface Pipeline {
  readonly name: string;
  readonly feed: Feed;
  /** Apps behind daprd. */
  readonly apps: readonly { readonly appId: string; readonly program: string; readonly replicas?: number }[];
  /** The table with one row per confirmation, if events are confirmed. */
  readonly confirmations?: string;
  /** Starts other processes. @returns their ids by name */
  start?(processes: AsyncDisposableStack): Promise<Record<string, number[]>>;
}

/** Measures the events a second that reach their effect and their confirmation, when fed as fast as possible. */
export async function throughput(stage: PipelineStage, pipeline: Pipeline, events: number): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  const pids = await open(processes, stage, pipeline);
  await pipeline.feed(WARM_UP);
  await handled(stage, pipeline, WARM_UP);
  const cpu = countCpu(pids);
  const wal = await walBytes(stage.database);
  const since = Date.now();
  await pipeline.feed(events);
  await handled(stage, pipeline, WARM_UP + events);
  const walPerEvent = ((await walBytes(stage.database)) - wal) / events / 1024;
  const details = { 'KB of WAL': walPerEvent, ...cpu(events) };
  const done = ['effect', pipeline.confirmations ?? []].flat().map((table) => `select xmin from ${table}`);
  const { rows } = await stage.database.query<{ last: number }>(
    `select max(${millisecondsOf('done')}) as last from (${done.join(' union all ')}) done`,
  );
  return { value: (1000 * events) / (rows[0]!.last - since), details };
}

/** Measures the time from the commit, or the publication, to the commit of the effect, when fed at a constant rate. */
export async function latency(
  stage: PipelineStage,
  pipeline: Pipeline,
  { rate, seconds }: { rate: number; seconds: number },
): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  await open(processes, stage, pipeline);
  await pipeline.feed(WARM_UP);
  await handled(stage, pipeline, WARM_UP);
  const events = Math.ceil(rate * seconds);
  const fed = await pipeline.feed(events, rate);
  await handled(stage, pipeline, WARM_UP + events);
  const { rows } = await stage.database.query<{ id: string; stored: number | null; applied: number }>(`
    select coalesce(e.aggregate_id, f.event_id) as id, ${millisecondsOf('l')} as stored, ${millisecondsOf('f')} as applied
      from effect f left join eventing.event_store e on e.id = f.event_id left join lamp l on l.id = coalesce(e.aggregate_id, f.event_id)`);
  const all = rows.flatMap(({ id, stored, applied }) => {
    const sample = fed.get(id);
    if (!sample) return [];
    // A late start counts, as if the path had delayed it.
    const late = sample.started - sample.due;
    return late + applied - (stored ?? performance.timeOrigin + sample.started);
  });
  if (all.length !== events) throw new Error(`${pipeline.name}: ${all.length} of ${events} latencies`);
  return { value: median(all), details: { 'p99 ms': percentile(all, 99) } };
}

function millisecondsOf(row: string): string {
  return `extract(epoch from pg_xact_commit_timestamp(${row}.xmin))::float8 * 1000`;
}

/** Starts the processes of a pipeline. They are stopped by `processes`. @returns their ids by name */
async function open(
  processes: AsyncDisposableStack,
  { database, appUrl, postgres, broker, publisher, folder, progress }: PipelineStage,
  { apps, start }: Pipeline,
): Promise<Record<string, number[]>> {
  await emptyTables(database);
  await broker.purge();
  const pids: Record<string, number[]> = { feeder: [process.pid], postgres: [postgres], nats: [broker.pid] };
  const add = (name: string, pid: number) => {
    pids[name] = [...(pids[name] ?? []), pid];
  };
  for (const { appId, program, replicas = 1 } of apps) {
    await broker.createConsumer(appId);
    for (let replica = 1; replica <= replicas; replica++) {
      const app = await startApp(processes, { appId, program, databaseUrl: appUrl, reports: [] });
      const options = { appId, appPort: app.port, port: app.daprPort, folder };
      const sidecar = await startSubscriberSidecar(processes, broker, progress, options);
      add(appId, app.pid);
      add('daprd', sidecar.pid);
    }
  }
  add('daprd', publisher.pid);
  return { ...pids, ...(await start?.(processes)) };
}

/** Waits until all effects and confirmations are there. @throws when there are more, or they take longer than two minutes */
async function handled(
  { database }: PipelineStage,
  { name, confirmations }: Pipeline,
  expected: number,
): Promise<void> {
  const confirmed = confirmations ? `, (select count(*)::int from ${confirmations}) as confirmed` : '';
  const read = async () => {
    const { rows } = await database.query<Record<string, number>>(
      `select count(*)::int as effects, count(distinct event_id)::int as events${confirmed} from effect`,
    );
    const counts = Object.values(rows[0]!);
    if (counts.some((it) => it !== expected)) throw new Error(`${name}: ${counts.join(', ')} of ${expected}`);
  };
  await until(read, 100, 120_000);
}
