import {
  DiscardPolicy,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamState,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';

export interface StreamLimits {
  /** Number of servers that store each message; 3 survive the loss of one. */
  readonly replicas: number;
  /** Maximum size on disk, in bytes. A full stream rejects messages. */
  readonly maxBytes: number;
  /** Maximum age of a message, in hours. */
  readonly maxAgeHours: number;
}

const [HOUR_MS, MIB] = [3_600_000, 1024 ** 2];
const DEDUPLICATION_MS = 120_000;

/** Result for one topic's stream. */
export interface StreamReport {
  readonly topic: string;
  readonly created: boolean;
  /** Changed limits by JetStream's name, as display text. */
  readonly changed: Readonly<Record<string, { from: string; to: string }>>;
  /** Limits that were not lowered because messages would be lost, with the reason. */
  readonly left: Readonly<Record<string, string>>;
}

/**
 * Creates the missing JetStream streams of these topics and updates the limits of existing ones; Dapr creates none.
 * Each topic has its own stream, since a stream deduplicates message ids across its topics. A full stream rejects
 * messages, which then wait in the outbox; dropping old ones instead would lose them for slow consumers. For the same
 * reason a limit is not lowered if unacknowledged messages would be deleted, or the stream would be full immediately.
 * @param url connection string with credentials, such as `nats://token@127.0.0.1:4222`; several servers separated by
 * commas
 * @returns one report per topic
 * @throws Error if the broker is unreachable or rejects a request
 */
export async function ensureStreams(
  url: string,
  topics: readonly string[],
  { replicas, maxBytes, maxAgeHours }: StreamLimits,
): Promise<StreamReport[]> {
  const wanted = {
    num_replicas: replicas,
    discard: DiscardPolicy.New,
    max_age: nanos(maxAgeHours * HOUR_MS),
    max_bytes: maxBytes,
    duplicate_window: nanos(DEDUPLICATION_MS),
  };
  const connection = await connectNats(url);
  try {
    const manager = await jetstreamManager(connection);
    const existing = new Set<string>();
    for await (const name of manager.streams.names()) existing.add(name);
    const reports: StreamReport[] = [];
    for (const topic of topics) {
      if (existing.has(topic)) {
        reports.push({ topic, created: false, ...(await adjust(manager, topic, wanted)) });
        continue;
      }
      const kind = { storage: StorageType.File, retention: RetentionPolicy.Limits, subjects: [topic] };
      await manager.streams.add({ name: topic, ...kind, ...wanted });
      reports.push({ topic, created: true, changed: {}, left: {} });
    }
    return reports;
  } finally {
    await connection.close();
  }
}

type Wanted = Pick<StreamConfig, 'num_replicas' | 'discard' | 'max_age' | 'max_bytes' | 'duplicate_window'>;

/** Updates only the limits that differ. */
async function adjust(
  manager: JetStreamManager,
  topic: string,
  wanted: Wanted,
): Promise<Pick<StreamReport, 'changed' | 'left'>> {
  const { config, state } = await manager.streams.info(topic);
  const left: Record<string, string> = {};
  if (wanted.max_bytes <= state.bytes)
    left.max_bytes = `stream holds ${shown('max_bytes', state.bytes)}, wanted ${shown('max_bytes', wanted.max_bytes)}`;
  if (wanted.max_age < (config.max_age || Number.POSITIVE_INFINITY)) {
    const age = nanos(await oldestUnacknowledged(manager, topic, state));
    if (wanted.max_age <= age)
      left.max_age = `a pending message is ${shown('max_age', age)} old, wanted ${shown('max_age', wanted.max_age)}`;
  }
  const differing = (Object.keys(wanted) as (keyof Wanted)[]).filter(
    (name) => config[name] !== wanted[name] && !left[name],
  );
  if (differing.length > 0)
    await manager.streams.update(topic, Object.fromEntries(differing.map((name) => [name, wanted[name]])));
  const changed = differing.map((name) => {
    const [from, to] = [config[name], wanted[name]].map((value) => shown(name, value)) as [string, string];
    return [name, { from, to }] as const;
  });
  return { changed: Object.fromEntries(changed), left };
}

/**
 * Returns the age of the oldest message that a consumer has not acknowledged, or without consumers of the oldest one,
 * in ms.
 */
async function oldestUnacknowledged(manager: JetStreamManager, topic: string, state: StreamState): Promise<number> {
  const floors: number[] = [];
  for await (const { ack_floor } of manager.consumers.list(topic)) floors.push(ack_floor.stream_seq);
  const seq = Math.max(state.first_seq, floors.length > 0 ? Math.min(...floors) + 1 : 0);
  if (state.messages === 0 || seq > state.last_seq) return 0;
  // If this message was deleted by hand, use the oldest one.
  const message = await manager.streams.getMessage(topic, { seq });
  return Date.now() - (message?.time ?? new Date(state.first_ts)).getTime();
}

/** Formats a setting's value. */
function shown(name: string, value: unknown): string {
  // JetStream treats 0 and negative values as no limit.
  if (name === 'max_bytes') return Number(value) > 0 ? `${(Number(value) / MIB).toFixed(1)} MiB` : 'unlimited';
  if (/^max_age$|_window$/.test(name))
    return Number(value) > 0 ? `${(Number(value) / nanos(HOUR_MS)).toFixed(2)} h` : 'unlimited';
  return String(value);
}
