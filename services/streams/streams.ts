import { DiscardPolicy, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { connectNats } from '#service/jetstream';

export interface StreamLimits {
  /** On how many servers of a cluster each message lies; 3 survive the loss of one. */
  readonly replicas: number;
  /** What a stream may take on disk. Full, it refuses. */
  readonly maxBytes: number;
  /** How long a message is kept for consumers that have not seen it; hours. */
  readonly maxAgeHours: number;
}

const HOUR_MS = 3_600_000;
const DEDUPLICATION_MS = 120_000;

/**
 * Creates the JetStream streams of these topics that are missing and gives the others these limits; Dapr creates none.
 * Each topic is a stream of its own: a stream takes a message id once only, whatever the topic. A full stream refuses: what it
 * refuses waits in the outbox, while what it dropped instead would be lost to a slow consumer.
 * @param url with the credentials, such as `nats://token@127.0.0.1:4222`; several servers separated by commas
 * @returns the names of those that were missing
 * @throws when the broker is not there, or refuses
 */
export async function ensureStreams(
  url: string,
  topics: readonly string[],
  { replicas, maxBytes, maxAgeHours }: StreamLimits,
): Promise<string[]> {
  const connection = await connectNats(url);
  try {
    const { streams } = await jetstreamManager(connection);
    const existing = new Set<string>();
    for await (const name of streams.names()) existing.add(name);
    const missing = topics.filter((topic) => !existing.has(topic));
    for (const topic of topics) {
      const limits = {
        subjects: [topic],
        num_replicas: replicas,
        discard: DiscardPolicy.New,
        max_age: nanos(maxAgeHours * HOUR_MS),
        max_bytes: maxBytes,
        duplicate_window: nanos(DEDUPLICATION_MS),
      };
      if (existing.has(topic)) await streams.update(topic, limits);
      else await streams.add({ name: topic, storage: StorageType.File, retention: RetentionPolicy.Limits, ...limits });
    }
    return missing;
  } finally {
    await connection.close();
  }
}
