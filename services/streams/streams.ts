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
import { connectNats } from '#service/jetstream';

export interface StreamLimits {
  /** On how many servers of a cluster each message lies; 3 survive the loss of one. */
  readonly replicas: number;
  /** What a stream may take on disk. Full, it refuses. */
  readonly maxBytes: number;
  /** How long a message is kept for consumers that have not seen it; hours. */
  readonly maxAgeHours: number;
}

const [HOUR_MS, MIB] = [3_600_000, 1024 ** 2];
const DEDUPLICATION_MS = 120_000;

/** What was done about one topic's stream. */
export interface StreamReport {
  readonly topic: string;
  readonly created: boolean;
  /** By the setting's name, as JetStream has it. */
  readonly changed: Readonly<Record<string, { from: string; to: string }>>;
  /** Limits that would have cost messages, with the reason. */
  readonly left: Readonly<Record<string, string>>;
}

/**
 * Creates the JetStream streams of these topics that are missing and gives the others these limits; Dapr creates none.
 * Each topic is a stream of its own: a stream takes a message id once only, whatever the topic. A full stream refuses: what it
 * refuses waits in the outbox, while what it dropped instead would be lost to a slow consumer. For the same reason no limit is lowered so far
 * that a stream would lose what somebody has not seen, or be full at once: that one is left as it is.
 * @param url with the credentials, such as `nats://token@127.0.0.1:4222`; several servers separated by commas
 * @throws when the broker is not there, or refuses
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

/** Sets what differs, and nothing else. */
async function adjust(
  manager: JetStreamManager,
  topic: string,
  wanted: Wanted,
): Promise<Pick<StreamReport, 'changed' | 'left'>> {
  const { config, state } = await manager.streams.info(topic);
  const left: Record<string, string> = {};
  if (wanted.max_bytes <= state.bytes)
    left.max_bytes = `it holds ${shown('max_bytes', state.bytes)}, and ${shown('max_bytes', wanted.max_bytes)} are wanted`;
  if (wanted.max_age < (config.max_age || Number.POSITIVE_INFINITY)) {
    const waiting = nanos(await longestWait(manager, topic, state));
    if (wanted.max_age <= waiting)
      left.max_age = `somebody has not seen a message of ${shown('max_age', waiting)} ago, and ${shown('max_age', wanted.max_age)} are wanted`;
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

/** How long ago the oldest message came that some consumer has not acknowledged; without consumers, the oldest of all. Milliseconds. */
async function longestWait(manager: JetStreamManager, topic: string, state: StreamState): Promise<number> {
  const floors: number[] = [];
  for await (const { ack_floor } of manager.consumers.list(topic)) floors.push(ack_floor.stream_seq);
  const seq = Math.max(state.first_seq, floors.length > 0 ? Math.min(...floors) + 1 : 0);
  if (state.messages === 0 || seq > state.last_seq) return 0;
  // Somebody may have deleted just this one: then as old as the first that is there.
  const message = await manager.streams.getMessage(topic, { seq });
  return Date.now() - (message?.time ?? new Date(state.first_ts)).getTime();
}

/** A setting's value for people. */
function shown(name: string, value: unknown): string {
  // Whatever is not above nothing is no limit.
  if (name === 'max_bytes') return Number(value) > 0 ? `${(Number(value) / MIB).toFixed(1)} MiB` : 'unlimited';
  if (/^max_age$|_window$/.test(name))
    return Number(value) > 0 ? `${(Number(value) / nanos(HOUR_MS)).toFixed(2)} h` : 'unlimited';
  return String(value);
}
