import type { EntityManager } from '@mikro-orm/postgresql';
import { type FamilyAccountWithMembers, lockOwnFamilyAccount } from './lock-family-account.ts';

/**
 * Transfers ownership of an account from its owner to another of its members.
 * @param by the requesting member
 * @throws DomainError `family-account-not-found`, `owner-only`, `not-a-member`
 */
export async function transferOwnership(
  em: EntityManager,
  { familyAccountId, memberId, by }: { familyAccountId: string; memberId: string; by: string },
): Promise<FamilyAccountWithMembers> {
  return em.transactional(async (tx) => {
    const { account, members } = await lockOwnFamilyAccount(tx, familyAccountId, by);
    account.mustBeOwnedBy(by);
    account.transferOwnership(members, memberId);
    return { account, members };
  });
}
