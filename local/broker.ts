import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { connect, nanos } from '@nats-io/transport-node';

/** The topics of both systems. Each is a stream of its own: a stream takes a message id once only, whatever the topic. */
export const topics = ['member-internal', 'member-external', 'family-account-internal', 'family-account-external'];

const MINUTE = 60_000;
const MIB = 1024 ** 2;

/**
 * Writes the configuration of a NATS server with JetStream that listens on 127.0.0.1 only and lets in who knows the token.
 * @param dataDir holds the configuration and the streams
 * @returns the arguments to start nats-server with
 */
export async function brokerArguments(dataDir: string, port: number, token: string): Promise<string[]> {
  const file = join(dataDir, 'nats-server.conf');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const settings = [
    `listen: "127.0.0.1:${port}"`,
    `jetstream { store_dir: ${JSON.stringify(dataDir)}, max_file_store: 2GB }`,
    `authorization { token: "${token}" }`,
  ];
  await writeFile(file, `${settings.join('\n')}\n`, { mode: 0o600 });
  return ['--config', file];
}

/**
 * Creates the streams that are missing and gives the others these limits; Dapr creates none.
 * A full stream refuses: what it refuses waits in the outbox, while what it dropped instead would be lost to a slow consumer.
 * @param url with the token, such as `nats://token@127.0.0.1:4222`
 * @throws when the broker is not there
 */
export async function ensureStreams(url: string): Promise<void> {
  const { host, username: token } = new URL(url);
  const connection = await connect({ servers: host, token, reconnect: false, timeout: 2000 });
  try {
    const { streams } = await jetstreamManager(connection);
    const existing = new Set<string>();
    for await (const name of streams.names()) existing.add(name);
    for (const topic of topics) {
      const limits = {
        subjects: [topic],
        discard: DiscardPolicy.New,
        max_age: nanos(7 * 24 * 60 * MINUTE),
        max_bytes: 256 * MIB,
        duplicate_window: nanos(2 * MINUTE),
      };
      if (existing.has(topic)) await streams.update(topic, limits);
      else await streams.add({ name: topic, storage: StorageType.File, retention: RetentionPolicy.Limits, ...limits });
    }
  } finally {
    await connection.close();
  }
}
