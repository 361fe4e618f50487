import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';

/** Does something at the broker of a system that runs, as its operator might. */
export async function atBroker<T>(
  brokerUrl: string,
  act: (manager: JetStreamManager, connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const { host, username: token } = new URL(brokerUrl);
  const connection = await connect({ servers: host, token, reconnect: false });
  try {
    return await act(await jetstreamManager(connection), connection);
  } finally {
    await connection.close();
  }
}

/** Forgets every stream, with all messages and consumers: what is left when a broker comes back without its data. */
export function eraseStreams(brokerUrl: string): Promise<void> {
  return atBroker(brokerUrl, async ({ streams }) => {
    for await (const name of streams.names()) await streams.delete(name);
  });
}

/** Loses every message of a topic; its consumers stay. */
export function eraseMessages(brokerUrl: string, topic: string): Promise<unknown> {
  return atBroker(brokerUrl, ({ streams }) => streams.purge(topic));
}

/** Forgets all consumers of all streams: whoever subscribed hears nothing any more, and is told nothing. */
export function eraseConsumers(brokerUrl: string): Promise<void> {
  return atBroker(brokerUrl, async ({ streams, consumers }) => {
    for await (const stream of streams.names())
      for await (const { name } of consumers.list(stream)) await consumers.delete(stream, name);
  });
}

/** Every message that the broker has, of each topic in the order in which it took them. */
export function messagesOf(brokerUrl: string): Promise<{ topic: string; body: string }[]> {
  return atBroker(brokerUrl, async ({ streams }) => {
    const all: { topic: string; body: string }[] = [];
    for await (const { config, state } of streams.list()) {
      if (state.messages === 0) continue;
      for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
        const message = await streams.getMessage(config.name, { seq });
        if (message) all.push({ topic: config.name, body: message.string() });
      }
    }
    return all;
  });
}

/** Lets a topic take a message that it has had before: JetStream takes an id once in two minutes, other brokers whenever it comes. */
export function takeRepeats(brokerUrl: string, topic: string): Promise<unknown> {
  return atBroker(brokerUrl, async ({ streams }) => {
    const { config } = await streams.info(topic);
    return streams.update(topic, { ...config, duplicate_window: nanos(100) });
  });
}

/** What consumers have not acknowledged yet: it is brought to them, again if need be. */
export function unacknowledged(brokerUrl: string): Promise<number> {
  return atBroker(brokerUrl, async ({ streams, consumers }) => {
    let count = 0;
    for await (const stream of streams.names())
      for await (const { num_pending, num_ack_pending } of consumers.list(stream))
        count += num_pending + num_ack_pending;
    return count;
  });
}

/** Publishes a body past Dapr, as whoever has the broker's credentials can. */
export function publishRaw(brokerUrl: string, topic: string, body: string): Promise<unknown> {
  return atBroker(brokerUrl, (_, connection) => jetstream(connection).publish(topic, body));
}
