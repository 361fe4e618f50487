import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';
import { startNats } from '../../support/nats.ts';
import { root } from '../../support/stack.ts';

export const MIB = 1024 ** 2;
export const limits = { replicas: 1, maxBytes: 4 * MIB, maxAgeHours: 48 };

/** A broker with one user, which may do everything. */
export interface Broker extends AsyncDisposable {
  readonly url: string;
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  /** Runs a command of the image with two broker addresses, of which only the second one exists. */
  command(args: string[], more?: Record<string, string>): Promise<string>;
}

/** Starts a broker without streams, and connects to it. */
export async function openBroker(): Promise<Broker> {
  await using stack = new AsyncDisposableStack();
  const broker = stack.use(await startNats([{ user: 'operator', password: 'a-password' }]));
  const url = broker.urlOf('operator');
  const connection = await connectNats(url);
  stack.defer(() => connection.close());
  const manager = await jetstreamManager(connection);
  const open = stack.move();
  return {
    url,
    connection,
    manager,
    async command(args, more = {}) {
      const env = { PATH: process.env.PATH, NATS_URL: `nats://operator:a-password@127.0.0.1:1,${url}`, ...more };
      return (await promisify(execFile)(process.execPath, args, { cwd: root, env })).stdout;
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}
