import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#service/errors';
import { Session } from '../domain/session.ts';

/**
 * One of a member's own sessions, live or ended.
 * @throws DomainError `session-not-found`, also for another member's
 */
export async function readSession(
  em: EntityManager,
  { memberId, number }: { memberId: string; number: number },
): Promise<Session> {
  const session = await em.findOne(Session, { number, memberId });
  if (!session) throw new DomainError('session-not-found', 'There is no such session of yours', 'not-found');
  return session;
}
