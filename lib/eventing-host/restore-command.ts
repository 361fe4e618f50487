import { type System, topicOf } from '#eventing/cloud-event';
import { withProvenance } from '#eventing/provenance';
import { type RestoreOptions, restore } from '#eventing/restore';
import type { restoreSettings } from '#process/common-settings';
import { type Config, readConfig, type Setting } from '#process/config';
import { run } from '#process/run';
import { connectNats, readTopic } from './jetstream.ts';

export interface RestoreCommand {
  readonly system: System;
  /** The group `restoreSettings`, with the service's own descriptions. */
  readonly settings: { readonly [K in keyof typeof restoreSettings]: Setting<Config<typeof restoreSettings>[K]> };
  readonly events: RestoreOptions['events'];
  /** Opens the service's database; `program` is recorded with each event in the event store. */
  open(options: {
    url: string;
    masterKeys: readonly Buffer[];
    program: string;
  }): Promise<Pick<RestoreOptions, 'orm' | 'replay' | 'end' | 'finish'> & AsyncDisposable>;
}

/**
 * Runs the command that repairs a system after its database was restored to an earlier time, then exits. Nothing else
 * of the system may run between the restore of the database and the end of this command.
 */
export function runRestore({ system, settings, events, open }: RestoreCommand): Promise<void> {
  return run(`${system.name}-restore`, async ({ stack, log }) => {
    const config = readConfig(settings);
    const database = stack.use(
      await open({ url: config.DATABASE_URL, masterKeys: config.MASTER_KEY, program: 'restore' }),
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
