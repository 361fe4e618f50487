import type { EntityManager } from '@mikro-orm/postgresql';
import { Session } from '../domain/session.ts';

/**
 * Returns a member's sessions, live and ended, latest first.
 * @param before returns only sessions before this number
 * @param limit maximum number of sessions
 */
export function listSessions(
  em: EntityManager,
  { memberId, before, limit }: { memberId: string; before?: number | undefined; limit: number },
): Promise<Session[]> {
  const where = { memberId, ...(before !== undefined && { number: { $lt: before } }) };
  return em.find(Session, where, { orderBy: { number: 'desc' }, limit });
}

/** Returns a member's live sessions, oldest first. Lock the member before changing them. */
export function findLiveSessions(em: EntityManager, memberId: string): Promise<Session[]> {
  return em.find(Session, { memberId, loggedOutAt: null }, { orderBy: { number: 'asc' } });
}
