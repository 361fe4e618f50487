import { runRestore } from '#eventing-host/restore-command';
import { connect } from './database.ts';
import { events } from './events.ts';
import { restoreSettings } from './settings.ts';
import { system } from './system.ts';
import { closeLostAccount, replayEvent } from './use-cases/replay-event.ts';

await runRestore({
  system,
  settings: restoreSettings,
  events,
  async open(options) {
    const { keyring, ...database } = await connect(options);
    return {
      ...database,
      replay: (em, event, isOver) => replayEvent(em, keyring, event, isOver),
      end: (em, id) => closeLostAccount(em, id),
    };
  },
});
