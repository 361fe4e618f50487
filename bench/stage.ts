import type { Client } from 'pg';
import type { Progress } from '../local/progress.ts';
import { openBroker } from './broker.ts';
import { benchFolder, openDatabase } from './harness.ts';
import { startPublisher } from './sidecar.ts';

/** PostgreSQL, JetStream and one daprd, as `npm start` runs them, without subscribers. */
export interface Stage {
  readonly database: Client;
  readonly relayUrl: string;
  readonly daprPort: number;
  /** Empties the topic, so that every run starts with the same state. */
  purge(): Promise<void>;
  /** Returns the number of messages in the topic. */
  stored(): Promise<number>;
}

/** Starts everything. It is stopped by `stack`. */
export async function openStage(stack: AsyncDisposableStack, progress: Progress): Promise<Stage> {
  const folder = await benchFolder(stack);
  const { database, relayUrl } = await openDatabase(folder, stack, progress);
  const broker = await openBroker(folder, stack, progress);
  const { port: daprPort } = await startPublisher(stack, broker, progress);
  return { database, relayUrl, daprPort, purge: broker.purge, stored: broker.stored };
}
