import type { MikroORM } from '@mikro-orm/postgresql';
import { RelayWakeUp } from '#eventing/outbox';
import type { Progress } from '../local/progress.ts';
import { openBroker } from './broker.ts';
import { CONNECTIONS, published, transactions } from './feeds.ts';
import { benchFolder, openDatabase } from './harness.ts';
import { extras, openLamps } from './lamps.ts';
import type { Pipeline, PipelineStage } from './pipeline.ts';
import { openRawPublisher } from './publish.ts';
import { startRelay } from './relay-process.ts';
import { startPublisher } from './sidecar.ts';

export interface PathStage extends PipelineStage {
  readonly orm: MikroORM;
  readonly relayUrl: string;
  readonly ownerUrl: string;
  readonly superuserUrl: string;
}

/** Starts what the pipelines have in common. It is stopped by `stack`. */
export async function openPathStage(stack: AsyncDisposableStack, progress: Progress): Promise<PathStage> {
  const folder = await benchFolder(stack);
  // For the times of commits, and for logical replication.
  const settings = { track_commit_timestamp: 'on', wal_level: 'logical' };
  const { pid: postgres, ...database } = await openDatabase(folder, stack, progress, settings);
  const broker = await openBroker(folder, stack, progress);
  const publisher = await startPublisher(stack, broker, progress);
  const wakeUp: RelayWakeUp = new RelayWakeUp(() => orm);
  const orm = await openLamps(stack, { ...database, connections: CONNECTIONS, wakeRelay: () => wakeUp.wake() });
  return { ...database, postgres, broker, publisher, folder, progress, orm };
}

/** What daprd and JetStream allow: the effect in one app, the confirmation in another one, nothing stored before. */
export function floor({ publisher }: PathStage, stack: AsyncDisposableStack): Pipeline {
  return {
    name: 'floor: daprd and two Koa apps',
    feed: published(openRawPublisher(stack, publisher.port, 1)),
    apps: [
      { appId: 'recorder', program: 'confirm' },
      { appId: 'consumer', program: 'orm-floor' },
    ],
    confirmations: 'floor_confirmed',
  };
}

/** This project: transaction, relay, recorder and a consumer. */
export function ownPath({ orm, database, relayUrl, publisher }: PathStage, replicas: number): Pipeline {
  return {
    name: replicas === 1 ? 'the path' : `the path, ${replicas} consumer replicas`,
    feed: transactions(orm, extras['an event']),
    apps: [
      { appId: 'recorder', program: 'recorder' },
      { appId: 'consumer', program: 'convergent', replicas },
    ],
    confirmations: 'eventing.published',
    start: async (processes) => ({
      relay: [await startRelay(processes, { database, relayUrl, daprPort: publisher.port })],
    }),
  };
}
