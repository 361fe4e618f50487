import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import { lockOwnFamilyAccount } from './lock-family-account.ts';

/**
 * Ends a membership: the member leaves, or the owner removes the member.
 * @param by the requesting member
 * @throws DomainError `family-account-not-found`, `owner-only`, `membership-not-found`
 */
export async function endMembership(
  em: EntityManager,
  { familyAccountId, memberId, by }: { familyAccountId: string; memberId: string; by: string },
  at = new Date(),
): Promise<void> {
  await em.transactional(async (tx) => {
    const { account, members, own } = await lockOwnFamilyAccount(tx, familyAccountId, by);
    if (by === memberId) return account.endMembership(members, own, 'LEFT', at);
    account.mustBeOwnedBy(by);
    const membership = members.find((other) => other.memberId === memberId);
    if (!membership) {
      throw new DomainError('membership-not-found', 'The family account has no member with this id', 'not-found');
    }
    account.endMembership(members, membership, 'REMOVED', at);
  });
}
