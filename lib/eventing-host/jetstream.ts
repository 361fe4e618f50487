import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';

/**
 * Connects to NATS directly, without Dapr, for operators' commands. Makes one attempt.
 * @param url in the format of Dapr's component, with credentials: `nats://token@host`, `nats://user:password@host`,
 * `tls://...`; several servers separated by commas
 * @throws when the broker cannot be reached within 2 s or rejects the credentials
 */
export function connectNats(url: string): Promise<NatsConnection> {
  const [first, ...others] = url.split(',').map((each) => new URL(each));
  const { username, password, protocol } = first!;
  const credentials = password
    ? { user: decodeURIComponent(username), pass: decodeURIComponent(password) }
    : { token: decodeURIComponent(username) || undefined };
  const tls = protocol === 'tls:' ? { tls: {} } : {};
  const servers = [first!, ...others].map(({ host }) => host);
  return connect({ servers, ...credentials, ...tls, reconnect: false, timeout: 2_000 });
}

const PAGE = { max_messages: 500, expires: 5_000 };

/**
 * Reads what JetStream retains of a topic at this moment.
 * @returns `since`: the topic is complete from this time on. It is the time of the oldest message, or the creation time
 * of the stream if no message has been removed
 * @throws when the stream does not exist; while reading, when the connection breaks
 */
export async function readTopic(
  connection: NatsConnection,
  topic: string,
): Promise<{ since: Date; messages: AsyncIterable<string> }> {
  const { state, created } = await (await jetstreamManager(connection)).streams.info(topic);
  const isComplete = state.messages === state.last_seq;
  // An emptied stream has no first message, and everything published before is gone.
  const since = isComplete ? created : state.messages > 0 ? state.first_ts : new Date().toISOString();
  return { since: new Date(since), messages: messagesOf(connection, topic) };
}

/** Ends when no message is pending, not at the last sequence: that message may have been removed. */
async function* messagesOf(connection: NatsConnection, topic: string): AsyncGenerator<string> {
  // An ordered, ephemeral consumer: it does not affect the subscribers' consumers.
  const consumer = await jetstream(connection).consumers.get(topic, { deliver_policy: DeliverPolicy.All });
  let pending = (await consumer.info()).num_pending;
  while (pending > 0) {
    const before = pending;
    for await (const message of await consumer.fetch(PAGE)) {
      pending = message.info.pending;
      yield message.string();
      if (pending === 0) return;
    }
    // A broken connection ends a fetch without an error.
    if (pending === before) throw new Error(`Reading ${topic} ended with ${pending} messages unread: run this again`);
  }
}
