import { runRestore } from '#service/restore';
import { connect } from './database.ts';
import { events } from './events.ts';
import { restoreSettings } from './settings.ts';
import { system } from './system.ts';
import { closeLostAccount, recallFact } from './use-cases/recall-fact.ts';

await runRestore({
  system,
  settings: restoreSettings,
  events,
  async open(options) {
    const { keyring, ...database } = await connect(options);
    return {
      ...database,
      recall: (em, fact, isOver) => recallFact(em, keyring, fact, isOver),
      end: (em, id) => closeLostAccount(em, id),
    };
  },
});
