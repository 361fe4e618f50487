import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endProcess, identify } from '../supervisor/process-identity.ts';
import { findPostgres, type PostgresBinaries } from '../toolchain/postgres-binaries.ts';

const run = promisify(execFile);

/** An initialised PostgreSQL data directory, and the command that starts its server. */
export interface PostgresCluster {
  readonly command: readonly string[];
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly superuserUrl: string;
}

/**
 * Initialises the data directory if it is missing, and stops a server that an earlier run left running on it.
 * The superuser's generated password is stored beside the data, readable for the owner only.
 * @param dataDir created if missing
 * @param port port of 127.0.0.1 that the server will listen on; there is no Unix socket
 */
export async function prepareCluster(dataDir: string, port: number): Promise<PostgresCluster> {
  await mkdir(dataDir, { recursive: true });
  await chmod(dataDir, 0o700);
  const binaries = await findPostgres(dataDir);
  const data = join(dataDir, 'cluster');
  const password = await superuserPassword(dataDir, binaries);
  if (!existsSync(data)) await initialise(data, binaries, join(dataDir, 'superuser-password'));
  await stopOrphan(data);
  return {
    command: [...binaries.prefix, binaries.postgres, '-D', data, ...settings(port)],
    user: binaries.user,
    superuserUrl: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
  };
}

function settings(port: number): string[] {
  const values = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    // Each process has its own pool, and there may be several replicas of each.
    max_connections: 400,
    timezone: 'UTC',
    log_timezone: 'UTC',
  };
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

async function superuserPassword(dataDir: string, { user }: PostgresBinaries): Promise<string> {
  const file = join(dataDir, 'superuser-password');
  if (!existsSync(file)) {
    await writeFile(file, randomBytes(24).toString('base64url'), { mode: 0o600 });
    if (user) await chown(file, user.uid, user.gid);
  }
  return readFile(file, 'utf8');
}

/** Runs initdb in a temporary directory, so that an interrupted run leaves no incomplete data directory. */
async function initialise(
  data: string,
  { initdb, prefix, user }: PostgresBinaries,
  passwordFile: string,
): Promise<void> {
  const unfinished = `${data}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  const [command, ...args] = [
    ...prefix,
    initdb,
    ...['-D', unfinished, '--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`],
    // The same sort order on every machine, whatever locales are installed.
    ...['--encoding=UTF8', '--locale=C'],
    // PostgreSQL 15 and 16 have no builtin provider.
    ...(process.env.POSTGRES_BIN ? [] : ['--locale-provider=builtin', '--builtin-locale=C.UTF-8']),
  ];
  await run(command!, args, { ...user, cwd: '/' });
  await rename(unfinished, data);
}

async function stopOrphan(data: string): Promise<void> {
  const file = join(data, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
  const holder = await identify(pid);
  // The file of a killed server: PostgreSQL detects that itself.
  if (!holder) return;
  // SIGINT is PostgreSQL's fast shutdown, which does not wait for clients to disconnect.
  if (holder.command.includes(data)) await endProcess(holder, 'SIGINT');
  // The id was reused by another program. PostgreSQL would assume that a server is running and refuse to start.
  else await rm(file);
}
