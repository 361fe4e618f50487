import { type System, topicOf } from '#eventing/cloud-event';
import { withProvenance } from '#eventing/provenance';
import { type RestoreOptions, restore } from '#eventing/restore';
import { type Config, readConfig, type restoring, type Setting } from './config.ts';
import { connectNats, readTopic } from './jetstream.ts';
import { run } from './run.ts';

export interface RestoreCommand {
  readonly system: System;
  /** Those of the group `restoring`, in the service's words. */
  readonly settings: { readonly [K in keyof typeof restoring]: Setting<Config<typeof restoring>[K]> };
  readonly events: RestoreOptions['events'];
  /** Connects as the service does, as a program of that name. */
  open(options: {
    url: string;
    masterKeys: readonly Buffer[];
    channel: string;
  }): Promise<Pick<RestoreOptions, 'orm' | 'recall' | 'end' | 'finish'> & AsyncDisposable>;
}

/**
 * Runs the command that puts a system right whose database was restored to an earlier time, before anything else of the system runs
 * again; it ends when it is done.
 */
export function runRestore({ system, settings, events, open }: RestoreCommand): Promise<void> {
  return run(`${system.name}-restore`, async ({ stack, log }) => {
    const config = readConfig(settings);
    const database = stack.use(
      await open({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, channel: 'restore' }),
    );
    const connection = await connectNats(config.NATS_URL);
    stack.defer(() => connection.close());
    const outcome = await withProvenance({ requestedBy: 'restore' }, async () =>
      restore({
        ...database,
        system,
        events,
        topic: await readTopic(connection, topicOf(system, 'internal')),
        acceptGap: config.ACCEPT_GAP,
        log,
      }),
    );
    log.info(outcome, 'done');
    await stack.disposeAsync();
  });
}
