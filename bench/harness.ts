import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#process/database';
import type { Progress } from '../local/progress.ts';
import { createSystem, startPostgres } from '../local/topology/postgres.ts';

export { median } from './statistics.ts';

export const TOPIC = 'member-internal';
export const DAPR_TOKEN = 'a-token-for-the-bench';

/**
 * Starts PostgreSQL with the tables of eventing, and those of the floors. It is stopped by `stack`.
 * @param settings PostgreSQL's, as `alter system set` takes them
 */
export async function openDatabase(
  folder: string,
  stack: AsyncDisposableStack,
  progress: Progress,
  settings: Readonly<Record<string, string>> = {},
) {
  const dataDir = join(folder, 'postgres');
  const start = () => startPostgres({ dataDir, log: (line) => progress.print(line) });
  let postgres = await start();
  if (Object.keys(settings).length > 0) {
    const superuser = new Client(postgres.superuserUrl);
    await superuser.connect();
    for (const [name, value] of Object.entries(settings)) await superuser.query(`alter system set ${name} = ${value}`);
    await superuser.end();
    await postgres.stop();
    postgres = await start();
  }
  stack.defer(() => postgres.stop());
  const urls = await createSystem(postgres.superuserUrl, { database: 'bench', rolePrefix: 'bench' });
  await migrate({ url: urls.owner, migrations: eventingMigrations({ roles: 'bench' }), print: () => undefined });
  const database = new Client(urls.owner);
  await database.connect();
  stack.defer(() => database.end());
  await database.query(FLOOR_TABLES);
  const superuserUrl = Object.assign(new URL(postgres.superuserUrl), { pathname: '/bench' }).href;
  const pid = Number((await readFile(join(dataDir, 'cluster/postmaster.pid'), 'utf8')).split('\n')[0]);
  return { database, relayUrl: urls.relay, appUrl: urls.app, ownerUrl: urls.owner, superuserUrl, pid };
}

const FLOOR_TABLES = `
create table effect (id bigint generated always as identity primary key, event_id uuid not null);
create table floor_inbox (consumer text, event_id uuid, handled_at timestamptz not null default clock_timestamp(), primary key (consumer, event_id));
create table floor_confirmed (id uuid primary key);
grant select, insert on effect, floor_inbox, floor_confirmed to bench_app`;

/** Empties the tables that deliveries fill. */
export async function emptyTables(database: Client): Promise<void> {
  await database.query(`
    truncate effect, floor_inbox, floor_confirmed, eventing.event_store, eventing.inbox, eventing.cursor, eventing.kept_delivery,
      eventing.outbox, eventing.relayed, eventing.published`);
}

/** Returns the position in PostgreSQL's log, in bytes. */
export async function walBytes(database: Client): Promise<number> {
  const { rows } = await database.query<{ bytes: string }>(
    `select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') as bytes`,
  );
  return Number(rows[0]!.bytes);
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

/** Repeats `attempt` until it succeeds. @throws its last error after the timeout */
export async function until<T>(attempt: () => Promise<T>, pauseMs = 50, timeoutMs = 60_000): Promise<T> {
  for (const deadline = performance.now() + timeoutMs; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

/** Describes the machine, for the results. */
export function machine(): string {
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model}, ${Math.round(totalmem() / 1024 ** 3)} GiB, ${process.platform}, Node ${process.versions.node}`;
}

/** Returns the short hash of the commit that is checked out. */
export function commitOf(): string {
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
}
