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

/**
 * The bodies of all messages that JetStream has of a topic at this moment, oldest first.
 * @throws when there is no stream of this name
 */
export async function* readTopic(connection: NatsConnection, topic: string): AsyncGenerator<string> {
  const { state } = await (await jetstreamManager(connection)).streams.info(topic);
  if (state.messages === 0) return;
  // Ordered, and nobody's: it leaves the subscribers' consumers as they are.
  const consumer = await jetstream(connection).consumers.get(topic, { deliver_policy: DeliverPolicy.All });
  for await (const message of await consumer.consume()) {
    yield message.string();
    if (message.seq >= state.last_seq) return;
  }
}
