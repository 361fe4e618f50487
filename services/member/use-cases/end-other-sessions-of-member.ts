import type { EntityManager } from '@mikro-orm/postgresql';
import { Session } from '../domain/session.ts';
import { lockMember } from './lock-member.ts';

/**
 * Ends every session of a member except the latest: a member is logged in on one device at a time. The latest is the one with the highest
 * number, live or not, so that the result depends only on the log-ins, not on when, how often or in what order this runs
 * (docs/decisions/0012). Runs in `em`'s transaction.
 */
export async function endOtherSessionsOfMember(em: EntityManager, memberId: string, at = new Date()): Promise<void> {
  const member = await lockMember(em, memberId);
  const latest = await em.findOne(Session, { memberId }, { orderBy: { number: 'desc' } });
  if (!latest) return;
  const superseded = await em.find(Session, { memberId, loggedOutAt: null, number: { $lt: latest.number } });
  for (const session of superseded) member.logOut(session, 'OTHER_DEVICE', at);
}
