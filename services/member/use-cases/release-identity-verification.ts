import type { EntityManager } from '@mikro-orm/postgresql';
import { lockMember } from './lock-member.ts';

/**
 * Takes back that a member is verified. What that means to others is for them to find out.
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
