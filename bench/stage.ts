import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstreamManager, type StreamAPI } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { Client } from 'pg';
import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#service/database';
import { findProgram } from '../local/binaries.ts';
import { brokerArguments, streamLimits, topics } from '../local/broker.ts';
import { freePort } from '../local/ports.ts';
import { createSystem, startPostgres } from '../local/postgres.ts';
import { daprd, natsServer } from '../local/programs.ts';
import type { Progress } from '../local/progress.ts';
import { ensureStreams } from '../services/streams/streams.ts';

export const TOPIC = 'member-internal';
export const DAPR_TOKEN = 'a-token-for-the-bench';
const components = join(import.meta.dirname, '../components/jetstream');

/** Real parts, as `npm start` runs them: PostgreSQL, JetStream and one daprd, with nobody who subscribes. */
export interface Stage {
  readonly database: Client;
  readonly relayUrl: string;
  readonly daprPort: number;
  /** Empties the topic, so that every run finds the broker alike. */
  purge(): Promise<void>;
  /** Messages in the topic. */
  stored(): Promise<number>;
}

/** Starts everything and registers its end with `stack`. */
export async function openStage(stack: AsyncDisposableStack, progress: Progress): Promise<Stage> {
  const { signal } = new AbortController();
  const folder = await mkdtemp(join(tmpdir(), 'member-system-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const { database, relayUrl } = await openDatabase(folder, stack, progress);
  const [port, daprPort, grpc, internal] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const natsUrl = `nats://bench@127.0.0.1:${port}`;
  const nats = await findProgram(natsServer, progress, signal);
  launch(stack, nats, await brokerArguments(join(folder, 'nats'), port, 'bench'));
  await until(() => ensureStreams(natsUrl, topics, streamLimits));
  const connection = await connect({ servers: `127.0.0.1:${port}`, token: 'bench' });
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

async function openDatabase(folder: string, stack: AsyncDisposableStack, progress: Progress) {
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), log: (line) => progress.say(line) });
  stack.defer(() => postgres.stop());
  const urls = await createSystem(postgres.superuserUrl, { database: 'bench', rolePrefix: 'bench' });
  await migrate({ url: urls.owner, migrations: eventingMigrations({ roles: 'bench' }), print: () => undefined });
  const database = new Client(urls.owner);
  await database.connect();
  stack.defer(() => database.end());
  return { database, relayUrl: urls.relay };
}

function topic(streams: StreamAPI): Pick<Stage, 'purge' | 'stored'> {
  return {
    purge: async () => void (await streams.purge(TOPIC)),
    stored: async () => (await streams.info(TOPIC)).state.messages,
  };
}

/** Starts a process that ends with `stack`. */
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

/** Resolves when `attempt` does, within 20 s. */
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
