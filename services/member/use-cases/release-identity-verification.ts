import type { EntityManager } from '@mikro-orm/postgresql';
import { lockMember } from './lock-member.ts';

/**
 * Releases a member's identity verification. Other systems react to the event on their own.
 * @param reason why, in words; recorded with the event, encrypted
 * @throws DomainError `member-not-found`, `member-withdrawn`
 */
export async function releaseIdentityVerification(
  em: EntityManager,
  { memberId, reason }: { memberId: string; reason: string },
): Promise<void> {
  await em.transactional(async (tx) => {
    const member = await lockMember(tx, memberId);
    member.releaseIdentityVerification(reason);
  });
}
