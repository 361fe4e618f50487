import { join } from 'node:path';
import { type ConsumerAPI, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '#eventing-host/jetstream';
import type { Progress } from '../local/progress.ts';
import { findProgram } from '../local/toolchain/binaries.ts';
import { natsServer } from '../local/toolchain/programs.ts';
import { brokerArguments, streamLimits, topics } from '../local/topology/broker.ts';
import { requiredConsumers } from '../local/topology/components.ts';
import { durableOf } from '../ops/jetstream/accounts.ts';
import { ensureConsumers } from '../ops/jetstream/ensure-consumers.ts';
import { ensureStreams } from '../ops/jetstream/streams.ts';
import { launch, TOPIC, until } from './harness.ts';
import { nextPort } from './ports.ts';

export interface Message {
  readonly id: string;
  /** Messages with the same key keep their order. */
  readonly key: string;
  /** The CloudEvent as JSON text. */
  readonly envelope: string;
}

export interface Broker {
  readonly url: string;
  readonly pid: number;
  /** Empties the topic. */
  purge(): Promise<void>;
  /** Returns the number of messages in the topic. */
  stored(): Promise<number>;
  /** Stores messages in this order, as daprd would. */
  publish(messages: readonly Message[]): Promise<void>;
  /** Creates an app's durable consumer anew. It delivers nothing until a sidecar subscribes. */
  createConsumer(appId: string): Promise<void>;
  /** Resolves when the app's consumer has acknowledged every message. */
  acknowledged(appId: string): Promise<void>;
}

/** Starts NATS with the streams of `npm start`. It is stopped by `stack`. */
export async function openBroker(folder: string, stack: AsyncDisposableStack, progress: Progress): Promise<Broker> {
  const port = await nextPort();
  const url = `nats://bench:bench@127.0.0.1:${port}`;
  const program = await findProgram(natsServer, progress, new AbortController().signal);
  const users = [{ user: 'bench', password: 'bench' }];
  const server = launch(stack, program, await brokerArguments(join(folder, 'nats'), port, users));
  await until(() => ensureStreams(url, topics, streamLimits));
  const connection = await connectNats(url);
  stack.defer(() => connection.close());
  const { streams, consumers } = await jetstreamManager(connection);
  const client = jetstream(connection);
  return {
    url,
    pid: server.pid!,
    purge: async () => void (await streams.purge(TOPIC)),
    stored: async () => (await streams.info(TOPIC)).state.messages,
    async publish(messages) {
      for (let i = 0; i < messages.length; i += 500)
        await Promise.all(
          messages.slice(i, i + 500).map(({ id, envelope }) => client.publish(TOPIC, envelope, { msgID: id })),
        );
    },
    ...durables(url, consumers),
  };
}

function durables(url: string, consumers: ConsumerAPI): Pick<Broker, 'createConsumer' | 'acknowledged'> {
  const settings = requiredConsumers().find(({ topic }) => topic === TOPIC)!;
  return {
    async createConsumer(appId) {
      await consumers.delete(TOPIC, durableOf(appId, TOPIC)).catch(() => undefined);
      await ensureConsumers(url, { [TOPIC]: [appId] }, settings);
    },
    acknowledged: (appId) =>
      until(async () => {
        const { num_pending: pending, num_ack_pending: open } = await consumers.info(TOPIC, durableOf(appId, TOPIC));
        if (pending + open > 0) throw new Error(`${appId} has not acknowledged ${pending + open} messages`);
      }),
  };
}
