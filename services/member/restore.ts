import { runRestore } from '#eventing-host/restore-command';
import { connect } from './database.ts';
import { events } from './events.ts';
import { restoreSettings } from './settings.ts';
import { system } from './system.ts';
import { Replay } from './use-cases/replay-events.ts';
import { withdrawMember } from './use-cases/withdraw-member.ts';

await runRestore({
  system,
  settings: restoreSettings,
  events,
  async open(options) {
    const { keyring, ...database } = await connect(options);
    const replay = new Replay(keyring);
    return {
      ...database,
      replay: (em, event, isOver) => replay.replay(em, event, isOver),
      end: (em, memberId) => withdrawMember(em, memberId),
      finish: (em) => replay.finish(em),
    };
  },
});
