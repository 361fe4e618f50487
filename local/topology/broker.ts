import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accounts, type BrokerUser, STREAMS_ACCOUNT } from '../../ops/jetstream/accounts.ts';
import { appTopics } from './components.ts';

/** Topics of both systems. */
export const topics = ['member-internal', 'member-external', 'family-account-internal', 'family-account-external'];

/** Limits of a cluster, with less disk space. */
export const streamLimits = { replicas: 1, maxBytes: 256 * 1024 ** 2, maxAgeHours: 7 * 24 };

/** User that manages streams and consumers; each other user has the name of its app. */
export const ADMINISTRATOR = 'administrator';

/** Returns the names of all users of the broker. */
export const brokerUserNames = (): string[] => [ADMINISTRATOR, ...Object.keys(appTopics())];

/**
 * Returns the administrator and one user per app of components/, with the topics that its Components allow.
 * @param passwords by user name
 */
export function brokerUsers(passwords: Readonly<Record<string, string>>): BrokerUser[] {
  const user = (name: string) => ({ user: name, password: passwords[name]! });
  const apps = Object.entries(appTopics());
  return [user(ADMINISTRATOR), ...apps.map(([app, topics]) => ({ ...user(app), topics }))];
}

/**
 * Writes the configuration of a NATS server with JetStream that listens on 127.0.0.1 and accepts only these users.
 * @param dataDir directory of the configuration and the streams
 * @returns the arguments for nats-server
 */
export async function brokerArguments(dataDir: string, port: number, users: readonly BrokerUser[]): Promise<string[]> {
  const file = join(dataDir, 'nats-server.conf');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  // Streams from before the introduction of accounts are in NATS's global account.
  const [oldFolder, newFolder] = ['$G', STREAMS_ACCOUNT].map((account) => join(dataDir, 'jetstream', account)) as [
    string,
    string,
  ];
  if (existsSync(oldFolder) && !existsSync(newFolder)) await rename(oldFolder, newFolder);
  const settings = [
    `listen: "127.0.0.1:${port}"`,
    `jetstream { store_dir: ${JSON.stringify(dataDir)}, max_file_store: 2GB }`,
    accounts(users),
  ];
  await writeFile(file, settings.join('\n'), { mode: 0o600 });
  return ['--config', file];
}
