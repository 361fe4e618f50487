import type { EntityManager } from '@mikro-orm/postgresql';
import { Session } from '../domain/session.ts';

/** A member's sessions, the latest first, live and ended; those before number `before`, at most `limit`. */
export function listSessions(
  em: EntityManager,
  { memberId, before, limit }: { memberId: string; before?: number | undefined; limit: number },
): Promise<Session[]> {
  const where = { memberId, ...(before !== undefined && { number: { $lt: before } }) };
  return em.find(Session, where, { orderBy: { number: 'desc' }, limit });
}

/** A member's live sessions, oldest first. To change them, have the member locked. */
export function findLiveSessions(em: EntityManager, memberId: string): Promise<Session[]> {
  return em.find(Session, { memberId, loggedOutAt: null }, { orderBy: { number: 'asc' } });
}
