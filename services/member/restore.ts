import { runRestore } from '#service/restore';
import { connect } from './database.ts';
import { events } from './events.ts';
import { restoreSettings } from './settings.ts';
import { system } from './system.ts';
import { Recollection } from './use-cases/recall-facts.ts';
import { withdrawMember } from './use-cases/withdraw-member.ts';

await runRestore({
  system,
  settings: restoreSettings,
  events,
  async open(options) {
    const { keyring, ...database } = await connect(options);
    const recollection = new Recollection(keyring);
    return {
      ...database,
      recall: (em, fact, isOver) => recollection.recall(em, fact, isOver),
      end: (em, memberId) => withdrawMember(em, memberId),
      finish: (em) => recollection.finish(em),
    };
  },
});
