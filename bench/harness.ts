import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#process/database';
import type { Progress } from '../local/progress.ts';
import { createSystem, startPostgres } from '../local/topology/postgres.ts';

export const TOPIC = 'member-internal';
export const DAPR_TOKEN = 'a-token-for-the-bench';

/** Starts PostgreSQL with the tables of eventing. It is stopped by `stack`. */
export async function openDatabase(folder: string, stack: AsyncDisposableStack, progress: Progress) {
  const dataDir = join(folder, 'postgres');
  const postgres = await startPostgres({ dataDir, log: (line) => progress.print(line) });
  stack.defer(() => postgres.stop());
  const urls = await createSystem(postgres.superuserUrl, { database: 'bench', rolePrefix: 'bench' });
  await migrate({ url: urls.owner, migrations: eventingMigrations({ roles: 'bench' }), print: () => undefined });
  const database = new Client(urls.owner);
  await database.connect();
  stack.defer(() => database.end());
  const pid = Number((await readFile(join(dataDir, 'cluster/postmaster.pid'), 'utf8')).split('\n')[0]);
  return { database, relayUrl: urls.relay, appUrl: urls.app, pid };
}

/** Creates a folder, which `stack` deletes. */
export async function benchFolder(stack: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'member-system-bench-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts a process, which `stack` stops. */
export function launch(
  stack: AsyncDisposableStack,
  command: string,
  args: string[],
  env: Record<string, string> = {},
  stdio: StdioOptions = 'ignore',
): ChildProcess {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio });
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
