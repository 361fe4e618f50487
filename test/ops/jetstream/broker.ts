import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { connectNats } from '#eventing-host/jetstream';
import { startNats } from '../../support/nats.ts';
import { root } from '../../support/stack.ts';

export const MIB = 1024 ** 2;
export const limits = { replicas: 1, maxBytes: 4 * MIB, maxAgeHours: 48 };

/** A broker with one user, which may do everything, and a connection to it. Opened by `open`, closed by `close`. */
export let url: string;
export let connection: NatsConnection;
export let manager: JetStreamManager;
const stack = new AsyncDisposableStack();

/** Starts a broker without streams, and connects to it. */
export async function open() {
  const broker = stack.use(await startNats([{ user: 'operator', password: 'a-password' }]));
  url = broker.urlOf('operator');
  connection = await connectNats(url);
  stack.defer(() => connection.close());
  manager = await jetstreamManager(connection);
}
export const close = () => stack.disposeAsync();

/** Runs a command of the image with two broker addresses, of which only the second one exists. */
export async function command(args: string[], more: Record<string, string> = {}): Promise<string> {
  const env = { PATH: process.env.PATH, NATS_URL: `nats://operator:a-password@127.0.0.1:1,${url}`, ...more };
  return (await promisify(execFile)(process.execPath, args, { cwd: root, env })).stdout;
}
