import {
  AckPolicy,
  type ConsumerConfig,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';
import { deliverSubjectOf, durableOf } from './accounts.ts';

export interface ConsumerSettings {
  /** Delays before the first, second, … redelivery of an unacknowledged message, in seconds. */
  readonly backOffSeconds: readonly number[];
  /** Maximum number of unacknowledged messages per app. */
  readonly maxAckPending: number;
  /**
   * Whether to recreate a consumer that a connected sidecar uses with another deliver subject. Apps with their own
   * account need the new subject, but the connected sidecar receives nothing more. Otherwise the subject is kept.
   */
  readonly recreateBound?: boolean;
}

/** Result for one durable consumer. */
export interface ConsumerReport {
  readonly consumer: string;
  readonly created: boolean;
  /** Changed settings by JetStream's name, as display text. */
  readonly changed: Readonly<Record<string, { from: string; to: string }>>;
  /** Why a recreated consumer starts at the first message of its topic, so that handled messages are redelivered. */
  readonly startsOver?: string;
}

/**
 * Creates the missing durable consumers of these apps as their sidecars would, and updates the settings of existing
 * ones. Other settings are kept. Sidecars with their own user cannot create consumers (accounts.ts). If ackWait or
 * maxAckPending differ, Dapr keeps failing to subscribe ("consumer name already in use") while pods stay ready:
 * components-contrib calls AddConsumer, which compares them (nats.go, checkConfig).
 * @param url connection string for Dapr's component, with an administrator's credentials
 * @param subscriptions app-ids by topic
 * @returns one report per consumer
 * @throws Error if the broker is unreachable or rejects a request, or a topic has no stream
 */
export async function ensureConsumers(
  url: string,
  subscriptions: Readonly<Record<string, readonly string[]>>,
  { backOffSeconds, maxAckPending, recreateBound = false }: ConsumerSettings,
): Promise<ConsumerReport[]> {
  const backoff = backOffSeconds.map((seconds) => nanos(seconds * 1_000));
  // The server uses the first backoff as ack_wait.
  const settings = { ack_wait: backoff[0]!, backoff, max_ack_pending: maxAckPending };
  const connection = await connectNats(url);
  try {
    const { consumers } = await jetstreamManager(connection, { checkAPI: false });
    const reports: ConsumerReport[] = [];
    for (const [topic, apps] of Object.entries(subscriptions))
      for (const app of apps) {
        const consumer = durableOf(app, topic);
        const wanted = { ...settings, deliver_subject: deliverSubjectOf(consumer) };
        const kind = { ack_policy: AckPolicy.Explicit, deliver_policy: DeliverPolicy.All, filter_subject: topic };
        const create = () =>
          consumers.add(topic, { durable_name: consumer, deliver_group: consumer, ...kind, ...wanted });
        const found = await consumers.info(topic, consumer).catch((error: unknown) => missing(error, topic));
        if (!found) {
          await create();
          reports.push({ consumer, created: true, changed: {} });
          continue;
        }
        const isBoundElsewhere = found.push_bound && found.config.deliver_subject !== wanted.deliver_subject;
        // JetStream rejects a change of the deliver subject while a client is subscribed to it.
        const allowed =
          isBoundElsewhere && !recreateBound ? { ...wanted, deliver_subject: found.config.deliver_subject! } : wanted;
        const changed = differences(found.config, allowed);
        if (isBoundElsewhere && recreateBound) {
          await consumers.delete(topic, consumer);
          await create();
          // Continues after the last acknowledged message. A start sequence would change the deliver policy, which Dapr
          // compares. Servers before 2.14 have no reset.
          const startsOver = await consumers.reset(topic, consumer, found.ack_floor.stream_seq + 1).then(
            () => undefined,
            (error: Error) => error.message,
          );
          reports.push({ consumer, created: false, changed, ...(startsOver && { startsOver }) });
          continue;
        }
        if (Object.keys(changed).length > 0) await consumers.update(topic, consumer, allowed);
        reports.push({ consumer, created: false, changed });
      }
    return reports;
  } finally {
    await connection.close();
  }
}

function missing(error: unknown, topic: string): undefined {
  if (!(error instanceof JetStreamApiError)) throw error;
  if (error.code === JetStreamApiCodes.StreamNotFound)
    throw new Error(`${topic} has no stream for consumers: create it first, with ops/jetstream/create-streams.ts`, {
      cause: error,
    });
  if (error.code !== JetStreamApiCodes.ConsumerNotFound) throw error;
}

type Wanted = Pick<ConsumerConfig, 'ack_wait' | 'backoff' | 'max_ack_pending' | 'deliver_subject'>;

function differences(config: ConsumerConfig, wanted: Wanted): ConsumerReport['changed'] {
  return Object.fromEntries(
    (Object.keys(wanted) as (keyof Wanted)[])
      .map((name) => [name, { from: shown(name, config[name]), to: shown(name, wanted[name]) }] as const)
      .filter(([, { from, to }]) => from !== to),
  );
}

/** Formats a setting's value. */
function shown(name: keyof Wanted, value: Wanted[keyof Wanted]): string {
  if (name === 'max_ack_pending' || name === 'deliver_subject') return String(value);
  const times = [value ?? []].flat() as number[];
  return times.map((each) => `${each / nanos(1_000)} s`).join(', ') || 'none';
}
