import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import {
  createDatabase,
  type DatabaseRole,
  databaseRoles,
  type SystemUrls,
} from '../../ops/create-database/create-database.ts';
import { freePort } from './ports.ts';
import { prepareCluster } from './postgres-cluster.ts';

/**
 * Starts a PostgreSQL server on a free port of 127.0.0.1, with an existing or a new data directory.
 * @param options.log called with each line of progress
 * @returns its port, the superuser's connection string, and `stop`, which performs a fast shutdown
 * @throws Error with the end of the server's log, if it accepts no connections within 10 s
 */
export async function startPostgres(options: {
  dataDir: string;
  log: (line: string) => void;
}): Promise<{ port: number; superuserUrl: string; stop(): Promise<void> }> {
  const { dataDir, log } = options;
  const port = await freePort();
  const { command, user, superuserUrl } = await prepareCluster(dataDir, port);
  const logFile = join(dataDir, 'postgres.log');
  const output = openSync(logFile, 'a', 0o600);
  const server = spawn(command[0]!, command.slice(1), { ...user, cwd: '/', stdio: ['ignore', output, output] });
  closeSync(output);
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()).once('error', () => resolve()));
  const stop = async (): Promise<void> => {
    server.kill('SIGINT');
    await ended;
  };
  try {
    const failed = ended.then(() => Promise.reject(new Error('PostgreSQL exited')));
    await Promise.race([acceptsConnections(superuserUrl, 10_000), failed]);
  } catch (error) {
    await stop();
    const end = (await readFile(logFile, 'utf8')).slice(-2000);
    throw new Error(`PostgreSQL in ${dataDir} did not start: ${end}`, { cause: error });
  }
  log(`PostgreSQL listens on 127.0.0.1:${port}`);
  return { port, superuserUrl, stop };
}

/** Waits until PostgreSQL accepts a connection. @throws the last connection error, after `timeoutMs` */
export async function acceptsConnections(url: string, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 2000 });
    // Without a listener, a connection that is closed later would end this process.
    client.on('error', () => undefined);
    try {
      await client.connect();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(20);
    } finally {
      await client.end();
    }
  }
}

/** One system's database, with the passwords of its roles `<rolePrefix>_owner`, `<rolePrefix>_app` and so on. */
export interface System {
  /** Lower-case letters and underscores only, like the role prefix. */
  readonly database: string;
  readonly rolePrefix: string;
  readonly passwords: Readonly<Record<DatabaseRole, string>>;
}

/** Returns the connection strings of a system's roles, on the same server as the superuser's. */
export function systemUrls(superuserUrl: string, { database, rolePrefix, passwords }: System): SystemUrls {
  const urls = databaseRoles.map((role) => {
    const parts = { username: `${rolePrefix}_${role}`, password: passwords[role], pathname: `/${database}` };
    return [role, Object.assign(new URL(superuserUrl), parts).href];
  });
  return Object.fromEntries(urls) as SystemUrls;
}

/**
 * Creates a system's database and its roles.
 * @param options.passwords passwords by role (default generated)
 * @returns the connection strings by role
 */
export async function createSystem(
  superuserUrl: string,
  options: Omit<System, 'passwords'> & { passwords?: Partial<System['passwords']> },
): Promise<SystemUrls> {
  const urls = systemUrls(superuserUrl, { ...options, passwords: { ...generatePasswords(), ...options.passwords } });
  await createDatabase(superuserUrl, urls);
  return urls;
}

/** Generates a password for each role of a system. */
export function generatePasswords(): Record<DatabaseRole, string> {
  const passwords = databaseRoles.map((role) => [role, randomBytes(24).toString('base64url')]);
  return Object.fromEntries(passwords) as Record<DatabaseRole, string>;
}
