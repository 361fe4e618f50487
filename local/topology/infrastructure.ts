import { join } from 'node:path';
import { ensureConsumers } from '../../ops/jetstream/ensure-consumers.ts';
import { ensureStreams } from '../../ops/jetstream/streams.ts';
import type { ProcessSpec } from '../supervisor/managed-process.ts';
import { ADMINISTRATOR, brokerArguments, brokerUserNames, brokerUsers, streamLimits, topics } from './broker.ts';
import { requiredConsumers } from './components.ts';
import { acceptsConnections } from './postgres.ts';
import { prepareCluster } from './postgres-cluster.ts';

/** Prepares the database server, with its data in `dataDir`/postgres. */
export async function database(dataDir: string, port: number): Promise<{ spec: ProcessSpec; superuserUrl: string }> {
  const { command, user, superuserUrl } = await prepareCluster(join(dataDir, 'postgres'), port);
  const spec = {
    name: 'postgres',
    command,
    user,
    cwd: '/',
    ports: { sql: port },
    summary: `accepts connections on port ${port}`,
    isReady: () => acceptsConnections(superuserUrl, 0).then(() => true),
    // PostgreSQL's fast shutdown; SIGTERM would wait until all clients have disconnected.
    stopSignal: 'SIGINT',
  } as const;
  return { spec, superuserUrl };
}

/**
 * Prepares the broker, with its streams in `dataDir`/nats. It counts as ready once all streams and consumers exist with
 * the settings of components/, which is ensured at each start.
 * @param options.passwords passwords of the users, by name
 * @returns `urls`: the URL of each user, by name; `createConsumers`: creates the missing consumers of one app, or of all
 */
export async function broker(
  nats: string,
  dataDir: string,
  options: { port: number; passwords: Readonly<Record<string, string>> },
): Promise<{
  spec: ProcessSpec;
  urls: Readonly<Record<string, string>>;
  createConsumers: (appId?: string) => Promise<void>;
}> {
  const { port, passwords } = options;
  const urls = Object.fromEntries(
    brokerUserNames().map((name) => [name, `nats://${name}:${passwords[name]}@127.0.0.1:${port}`]),
  );
  const url = urls[ADMINISTRATOR]!;
  const declared = requiredConsumers();
  const createConsumers = async (appId?: string) => {
    for (const { topic, apps, ...settings } of declared) {
      const selected = apps.filter((app) => !appId || app === appId);
      if (selected.length > 0) await ensureConsumers(url, { [topic]: selected }, settings);
    }
  };
  const spec = {
    name: 'broker',
    command: [nats, ...(await brokerArguments(join(dataDir, 'nats'), port, brokerUsers(passwords)))],
    ports: { nats: port },
    summary: `listens on port ${port}, with ${topics.length} streams`,
    isReady: async () => {
      await ensureStreams(url, topics, streamLimits);
      await createConsumers();
      return true;
    },
  };
  return { spec, urls, createConsumers };
}
