import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';

/**
 * Connects past Dapr, as an operator's commands do, and tries once.
 * @param url as Dapr's component takes it, credentials included: `nats://token@host`, `nats://user:password@host`, `tls://...`; several servers
 * separated by commas
 * @throws when the broker is not there, or refuses
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
 * What JetStream has of a topic at this moment: all that was published since its oldest message was, or since there is the stream, when
 * none has been dropped.
 * @throws when there is no stream of this name
 */
export async function readTopic(
  connection: NatsConnection,
  topic: string,
): Promise<{ since: Date; messages: AsyncIterable<string> }> {
  const { state, created } = await (await jetstreamManager(connection)).streams.info(topic);
  const isWhole = state.messages === state.last_seq;
  // Of a stream that is empty the time of its first message is none: what was published before is gone.
  const since = isWhole ? created : state.messages > 0 ? state.first_ts : new Date().toISOString();
  return { since: new Date(since), messages: messagesOf(connection, topic) };
}

/** By the count of what is left, since the last sequence may be that of a message that is gone. */
async function* messagesOf(connection: NatsConnection, topic: string): AsyncGenerator<string> {
  // Ordered, and nobody's: it leaves the subscribers' consumers as they are.
  const consumer = await jetstream(connection).consumers.get(topic, { deliver_policy: DeliverPolicy.All });
  let left = (await consumer.info()).num_pending;
  while (left > 0) {
    const before = left;
    for await (const message of await consumer.fetch(PAGE)) {
      left = message.info.pending;
      yield message.string();
      if (left === 0) return;
    }
    // A connection that breaks ends a fetch without a word.
    if (left === before) throw new Error(`${topic} could not be read to its end: ${left} messages are left`);
  }
}
