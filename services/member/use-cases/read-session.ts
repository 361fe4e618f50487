import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import { Session } from '../domain/session.ts';

/**
 * Reads one of a member's own sessions, live or ended.
 * @throws DomainError `session-not-found`, also for a session of another member
 */
export async function readSession(
  em: EntityManager,
  { memberId, number }: { memberId: string; number: number },
): Promise<Session> {
  const session = await em.findOne(Session, { number, memberId });
  if (!session) throw new DomainError('session-not-found', 'You have no session with this number', 'not-found');
  return session;
}
