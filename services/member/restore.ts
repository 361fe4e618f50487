import { runRestore } from '#service/restore';
import { connect } from './database.ts';
import { events } from './events.ts';
import { restoreSettings } from './settings.ts';
import { system } from './system.ts';
import { Recollection } from './use-cases/recall-facts.ts';

await runRestore({
  system,
  settings: restoreSettings,
  events,
  async open(options) {
    const { keyring, ...database } = await connect(options);
    const recollection = new Recollection(keyring);
    return {
      ...database,
      recall: (em, fact) => recollection.recall(em, fact),
      finish: (em) => recollection.finish(em),
    };
  },
});
