import { join } from 'node:path';
import { ensureStreams } from '../services/streams/streams.ts';
import { updateConsumers } from '../services/streams/update-consumers.ts';
import { brokerArguments, streamLimits, topics } from './broker.ts';
import { askedConsumers } from './components.ts';
import type { ProcessSpec } from './managed-process.ts';
import { acceptsConnections } from './postgres.ts';
import { prepareCluster } from './postgres-cluster.ts';

/** The database server, with its data in `dataDir`/postgres. */
export async function database(dataDir: string, port: number): Promise<{ spec: ProcessSpec; superuserUrl: string }> {
  const { command, user, superuserUrl } = await prepareCluster(join(dataDir, 'postgres'), port);
  const spec = {
    name: 'postgres',
    command,
    user,
    cwd: '/',
    ports: { sql: port },
    says: `accepts connections on port ${port}`,
    isReady: () => acceptsConnections(superuserUrl, 0).then(() => true),
    // PostgreSQL's fast shutdown; with SIGTERM it would wait for clients to leave.
    stopSignal: 'SIGINT',
  } as const;
  return { spec, superuserUrl };
}

/**
 * The broker, with its streams in `dataDir`/nats. It is ready when the streams exist, and consumers from before have what components/ says
 * today; both are looked after at each of its starts.
 */
export async function broker(
  nats: string,
  dataDir: string,
  options: { port: number; token: string },
): Promise<{ spec: ProcessSpec; url: string }> {
  const { port, token } = options;
  const url = `nats://${token}@127.0.0.1:${port}`;
  const asked = askedConsumers();
  const spec = {
    name: 'broker',
    command: [nats, ...(await brokerArguments(join(dataDir, 'nats'), port, token))],
    ports: { nats: port },
    says: `has its ${topics.length} streams, on port ${port}`,
    isReady: async () => {
      await ensureStreams(url, topics, streamLimits);
      for (const { topic, apps, ...settings } of asked) await updateConsumers(url, { [topic]: apps }, settings);
      return true;
    },
  };
  return { spec, url };
}
