import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager, type StreamAPI } from '@nats-io/jetstream';
import { Client } from 'pg';
import { eventingMigrations } from '#eventing/schema';
import { connectNats } from '#eventing-host/jetstream';
import { migrate } from '#process/database';
import type { Progress } from '../local/progress.ts';
import { findProgram } from '../local/toolchain/binaries.ts';
import { daprd, natsServer } from '../local/toolchain/programs.ts';
import { brokerArguments, streamLimits, topics } from '../local/topology/broker.ts';
import { freePort } from '../local/topology/ports.ts';
import { createSystem, startPostgres } from '../local/topology/postgres.ts';
import { ensureStreams } from '../ops/jetstream/streams.ts';

export const TOPIC = 'member-internal';
export const DAPR_TOKEN = 'a-token-for-the-bench';
const components = join(import.meta.dirname, '../components/jetstream');

/** PostgreSQL, JetStream and one daprd, as `npm start` runs them, without subscribers. */
export interface Stage {
  readonly database: Client;
  readonly relayUrl: string;
  readonly daprPort: number;
  /** Empties the topic, so that every run starts with the same state. */
  purge(): Promise<void>;
  /** Returns the number of messages in the topic. */
  stored(): Promise<number>;
}

/** Starts everything. It is stopped by `stack`. */
export async function openStage(stack: AsyncDisposableStack, progress: Progress): Promise<Stage> {
  const { signal } = new AbortController();
  const folder = await benchFolder(stack);
  const { database, relayUrl } = await openDatabase(folder, stack, progress);
  const [port, daprPort, grpc, internal] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const natsUrl = `nats://bench:bench@127.0.0.1:${port}`;
  const nats = await findProgram(natsServer, progress, signal);
  launch(stack, nats, await brokerArguments(join(folder, 'nats'), port, [{ user: 'bench', password: 'bench' }]));
  await until(() => ensureStreams(natsUrl, topics, streamLimits));
  const connection = await connectNats(natsUrl);
  stack.defer(() => connection.close());
  const { streams } = await jetstreamManager(connection);
  const flags = {
    'app-id': 'member',
    'resources-path': components,
    'dapr-http-port': daprPort,
    'dapr-grpc-port': grpc,
    'dapr-internal-grpc-port': internal,
    'dapr-listen-addresses': '127.0.0.1',
    'dapr-internal-grpc-listen-address': '127.0.0.1',
    'enable-metrics': false,
    'log-level': 'error',
  };
  const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  launch(stack, await findProgram(daprd, progress, signal), args, { NATS_URL: natsUrl, DAPR_API_TOKEN: DAPR_TOKEN });
  await until(async () => {
    const { status } = await fetch(`http://127.0.0.1:${daprPort}/v1.0/healthz/outbound`);
    if (status !== 204) throw new Error(`daprd is not ready: ${status}`);
  });
  return { database, relayUrl, daprPort, ...topic(streams) };
}

/** Starts PostgreSQL with the tables of eventing. It is stopped by `stack`. */
export async function openDatabase(folder: string, stack: AsyncDisposableStack, progress: Progress) {
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), log: (line) => progress.print(line) });
  stack.defer(() => postgres.stop());
  const urls = await createSystem(postgres.superuserUrl, { database: 'bench', rolePrefix: 'bench' });
  await migrate({ url: urls.owner, migrations: eventingMigrations({ roles: 'bench' }), print: () => undefined });
  const database = new Client(urls.owner);
  await database.connect();
  stack.defer(() => database.end());
  return { database, relayUrl: urls.relay, appUrl: urls.app };
}

/** Creates a folder, which `stack` deletes. */
export async function benchFolder(stack: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'member-system-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function topic(streams: StreamAPI): Pick<Stage, 'purge' | 'stored'> {
  return {
    purge: async () => void (await streams.purge(TOPIC)),
    stored: async () => (await streams.info(TOPIC)).state.messages,
  };
}

/** Starts a process, which `stack` stops. */
export function launch(
  stack: AsyncDisposableStack,
  command: string,
  args: string[],
  env: Record<string, string> = {},
): ChildProcess {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
  stack.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
  });
  return child;
}

/** Repeats `attempt` until it succeeds. @throws its last error after 20 s */
export async function until<T>(attempt: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + 20_000; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Describes the machine, for the results. */
export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model}, ${Math.round(totalmem() / 1024 ** 3)} GiB, ${process.platform}, Node ${process.versions.node}`;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
