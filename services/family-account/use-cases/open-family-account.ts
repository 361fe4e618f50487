import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { FamilyAccount } from '../domain/family-account.ts';
import type { MemberSystem } from '../member-system.ts';
import type { FamilyAccountWithMembers } from './lock-family-account.ts';
import { mustBeVerified } from './must-be-verified.ts';
import { refusingSecondMembership } from './refuse-second-membership.ts';

/**
 * Opens an account; `ownerId` becomes its owner and first member.
 * @throws DomainError `identity-not-verified`, `already-in-family-account`
 */
export async function openFamilyAccount(
  em: EntityManager,
  member: MemberSystem,
  { name, ownerId }: { name: string; ownerId: string },
  at = new Date(),
): Promise<FamilyAccountWithMembers> {
  await mustBeVerified(member, ownerId);
  return refusingSecondMembership(() =>
    em.transactional(async (tx) => {
      const opened = FamilyAccount.open({ id: uuid(), membershipId: uuid(), name, ownerId }, at);
      // Inserted first, because the membership references it.
      await tx.persist(opened.account).flush();
      tx.persist(opened.membership);
      return { account: opened.account, members: [opened.membership] };
    }),
  );
}
