import type { EntityManager } from '@mikro-orm/postgresql';
import type { Restored, RestoreOptions } from '#eventing/restore';
import { events } from '../../../../services/member/events.ts';
import { system } from '../../../../services/member/system.ts';
import { Replay } from '../../../../services/member/use-cases/replay-events.ts';
import { withdrawMember } from '../../../../services/member/use-cases/withdraw-member.ts';
import * as support from '../../../support/snapshot.ts';
import { type MemberSystem, openMemberSystem } from '../support.ts';

/** A member system whose database can be restored. */
export interface ReplayFixture {
  readonly members: MemberSystem;
  /**
   * Restores the database to the state before `lostChanges`, then replays the events that it lost.
   * @param laterChanges runs on the restored database before the replay
   */
  restoreAndReplay(lostChanges: () => Promise<unknown>, laterChanges?: () => Promise<unknown>): Promise<Restored>;
  /** Returns the types of all events of a member, in sequence, without their common prefix. */
  eventTypesOf(memberId: string): Promise<string[]>;
  /** Returns the number, device and logout reason of each session of a member, by number. */
  sessionsOf(memberId: string): Promise<Record<string, unknown>[]>;
}

const SESSIONS = 'select number::int, device_id, logout_reason from session where member_id = $1 order by number';

/** Opens a member system on its own database. */
export async function openReplayFixture(): Promise<ReplayFixture> {
  const members = await openMemberSystem();
  // A database without members would be rejected as the wrong one.
  await members.register();
  const { database, orm, keyring } = members;
  return {
    members,
    restoreAndReplay(lostChanges, laterChanges) {
      const replayer = new Replay(keyring);
      const replay: RestoreOptions['replay'] = (em, event, isOver) => replayer.replay(em, event, isOver);
      const finish = (em: EntityManager) => replayer.finish(em);
      const end = (em: EntityManager, id: string) => withdrawMember(em, id);
      const options = { database, orm, system, events, replay, end, finish };
      return support.restoredToBefore(options, lostChanges, laterChanges);
    },
    eventTypesOf: async (id) => (await members.eventTypesOf(id)).map((type) => type.replace('member.', '')),
    sessionsOf: (id) => database.sql(SESSIONS, [id]),
  };
}
