import type { EntityManager } from '@mikro-orm/postgresql';
import { Session } from '../domain/session.ts';
import { lockMember } from './lock-member.ts';

/**
 * A member is logged in on one device at a time, the last one: ends every session that a later one of the same member supersedes.
 * Later by number, whether the later one still lives or not: what is left then depends on nothing but which log-ins there were, not on
 * when or in what order, or how often, this is done. In `em`'s transaction.
 */
export async function endOtherSessionsOfMember(em: EntityManager, memberId: string, at = new Date()): Promise<void> {
  const member = await lockMember(em, memberId);
  const latest = await em.findOne(Session, { memberId }, { orderBy: { number: 'desc' } });
  if (!latest) return;
  const superseded = await em.find(Session, { memberId, loggedOutAt: null, number: { $lt: latest.number } });
  for (const session of superseded) member.logOut(session, 'OTHER_DEVICE', at);
}
