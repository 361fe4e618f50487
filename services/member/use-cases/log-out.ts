import type { EntityManager } from '@mikro-orm/postgresql';
import { lockMember } from './lock-member.ts';
import { readSession } from './read-session.ts';

/**
 * Ends one of a member's own sessions; does nothing if it has ended already.
 * @throws DomainError `session-not-found`
 */
export async function logOut(
  em: EntityManager,
  { memberId, number }: { memberId: string; number: number },
  at = new Date(),
): Promise<void> {
  await em.transactional(async (tx) => {
    const member = await lockMember(tx, memberId);
    member.logOut(await readSession(tx, { memberId, number }), 'SELF', at);
  });
}
