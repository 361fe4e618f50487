import { type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type NatsConnection, nanos } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';

/** Runs `act` with a connection to the broker of a running system. */
export async function withBroker<T>(
  brokerUrl: string,
  act: (manager: JetStreamManager, connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const connection = await connectNats(brokerUrl);
  try {
    return await act(await jetstreamManager(connection), connection);
  } finally {
    await connection.close();
  }
}

/** Deletes every stream with its messages and consumers, as if the broker had restarted without its data. */
export function eraseStreams(brokerUrl: string): Promise<void> {
  return withBroker(brokerUrl, async ({ streams }) => {
    for await (const name of streams.names()) await streams.delete(name);
  });
}

/** Deletes every message of a topic; its consumers stay. */
export function eraseMessages(brokerUrl: string, topic: string): Promise<unknown> {
  return withBroker(brokerUrl, ({ streams }) => streams.purge(topic));
}

/** Deletes all consumers of all streams: subscribers receive nothing any more, and no error either. */
export function eraseConsumers(brokerUrl: string): Promise<void> {
  return withBroker(brokerUrl, async ({ streams, consumers }) => {
    for await (const stream of streams.names())
      for await (const { name } of consumers.list(stream)) await consumers.delete(stream, name);
  });
}

/** Returns every message at the broker, per topic in the order of acceptance. */
export function messagesOf(brokerUrl: string): Promise<{ topic: string; body: string }[]> {
  return withBroker(brokerUrl, async ({ streams }) => {
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

/** Makes a topic accept repeated message ids. JetStream drops them for two minutes by default; other brokers do not. */
export function acceptRepeats(brokerUrl: string, topic: string): Promise<unknown> {
  return withBroker(brokerUrl, async ({ streams }) => {
    const { config } = await streams.info(topic);
    return streams.update(topic, { ...config, duplicate_window: nanos(100) });
  });
}

/** Counts the messages that consumers have not acknowledged yet, delivered or not. */
export function countUnacknowledged(brokerUrl: string): Promise<number> {
  return withBroker(brokerUrl, async ({ streams, consumers }) => {
    let count = 0;
    for await (const stream of streams.names())
      for await (const { num_pending, num_ack_pending } of consumers.list(stream))
        count += num_pending + num_ack_pending;
    return count;
  });
}

/** Publishes a body without Dapr, as the administrator. */
export function publishRaw(brokerUrl: string, topic: string, body: string): Promise<unknown> {
  return withBroker(brokerUrl, (_, connection) => jetstream(connection).publish(topic, body));
}
