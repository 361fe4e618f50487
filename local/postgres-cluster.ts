import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findPostgres, type PostgresBinaries } from './postgres-binaries.ts';
import { endProcess, identify } from './process-identity.ts';

const run = promisify(execFile);

/** A PostgreSQL data directory that is ready to be served, and the command that serves it. */
export interface PostgresCluster {
  readonly command: readonly string[];
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly superuserUrl: string;
}

/**
 * Makes the data directory when there is none yet, and stops a server that an earlier run has left behind on it.
 * The superuser's generated password is kept beside the data, for the owner of the directory only.
 * @param dataDir is created when it is missing
 * @param port on 127.0.0.1, for the server to listen on; it opens no Unix socket
 */
export async function prepareCluster(dataDir: string, port: number): Promise<PostgresCluster> {
  await mkdir(dataDir, { recursive: true });
  await chmod(dataDir, 0o700);
  const binaries = await findPostgres(dataDir);
  const data = join(dataDir, 'cluster');
  const password = await superuserPassword(dataDir, binaries);
  if (!existsSync(data)) await initialise(data, binaries, join(dataDir, 'superuser-password'));
  await stopLeftover(data);
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
    // Every process has a pool of its own, and with two replicas there are two of each.
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

/** Under another name until it is whole, so that an interrupted one is not taken for a data directory. */
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
    // The same order of strings on every machine, whatever locales it has.
    ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
  ];
  await run(command!, args, { ...user, cwd: '/' });
  await rename(unfinished, data);
}

async function stopLeftover(data: string): Promise<void> {
  const file = join(data, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
  const holder = await identify(pid);
  // A server that was killed has left its number, which PostgreSQL sees for itself.
  if (!holder) return;
  // SIGINT is PostgreSQL's fast shutdown: it does not wait for clients to leave.
  if (holder.command.includes(data)) await endProcess(holder, 'SIGINT');
  // Another program was given that number meanwhile. PostgreSQL would take it for the server and refuse to start.
  else await rm(file);
}
