import { type ConsumerConfig, JetStreamApiCodes, JetStreamApiError, jetstreamManager } from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { connectNats } from '#service/jetstream';

export interface ConsumerSettings {
  /** After how long a message comes again that was not acknowledged, the first time and each time after that; seconds. */
  readonly backOffSeconds: readonly number[];
  /** How many messages may be under way to an app. */
  readonly maxAckPending: number;
}

/** What was done about one durable consumer. */
export interface ConsumerReport {
  readonly consumer: string;
  /** By the setting's name, as JetStream has it; seconds are seconds. */
  readonly changed: Readonly<Record<string, { from: string; to: string }>>;
}

/**
 * Gives the durables of these apps, as far as they are there, the settings that the apps' sidecars ask for, and leaves all else of them as it
 * is. Dapr makes a consumer that is missing; one that is there with another ackWait or maxAckPending it refuses to hear from ("consumer name
 * already in use"), and goes on refusing, while pods are ready: components-contrib calls AddConsumer, which compares (nats.go, checkConfig).
 * @param url as Dapr's component takes it, with its credentials: no other rights are needed than a sidecar's
 * @param subscriptions app-ids by topic
 * @throws when the broker is not there, or refuses
 */
export async function updateConsumers(
  url: string,
  subscriptions: Readonly<Record<string, readonly string[]>>,
  { backOffSeconds, maxAckPending }: ConsumerSettings,
): Promise<ConsumerReport[]> {
  const backoff = backOffSeconds.map((seconds) => nanos(seconds * 1_000));
  // The server itself takes the first of these for ack_wait.
  const wanted = { ack_wait: backoff[0]!, backoff, max_ack_pending: maxAckPending };
  const connection = await connectNats(url);
  try {
    const { consumers } = await jetstreamManager(connection, { checkAPI: false });
    const reports: ConsumerReport[] = [];
    for (const [topic, apps] of Object.entries(subscriptions))
      for (const app of apps) {
        const consumer = `${app}-${topic}`;
        const config = await consumers.info(topic, consumer).then(({ config }) => config, missing);
        if (!config) continue;
        const changed = differences(config, wanted);
        if (Object.keys(changed).length > 0) await consumers.update(topic, consumer, wanted);
        reports.push({ consumer, changed });
      }
    return reports;
  } finally {
    await connection.close();
  }
}

function missing(error: unknown): undefined {
  const codes: readonly number[] = [JetStreamApiCodes.ConsumerNotFound, JetStreamApiCodes.StreamNotFound];
  if (!(error instanceof JetStreamApiError && codes.includes(error.code))) throw error;
}

type Wanted = Pick<ConsumerConfig, 'ack_wait' | 'backoff' | 'max_ack_pending'>;

function differences(config: ConsumerConfig, wanted: Wanted): ConsumerReport['changed'] {
  return Object.fromEntries(
    (Object.keys(wanted) as (keyof Wanted)[])
      .map((name) => [name, { from: shown(name, config[name]), to: shown(name, wanted[name]) }] as const)
      .filter(([, { from, to }]) => from !== to),
  );
}

/** A setting's value for people. */
function shown(name: keyof Wanted, value: Wanted[keyof Wanted]): string {
  if (name === 'max_ack_pending') return String(value);
  return (
    [value ?? []]
      .flat()
      .map((each) => `${each / nanos(1_000)} s`)
      .join(', ') || 'none'
  );
}
