import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { DomainError } from '#process/errors';
import { Invitation } from '../domain/invitation.ts';
import { hashCode } from '../invitation-codes.ts';
import type { MemberSystem } from '../member-system.ts';
import { type FamilyAccountWithMembers, lockFamilyAccount } from './lock-family-account.ts';
import { mustBeVerified } from './must-be-verified.ts';
import { refusingSecondMembership } from './refuse-second-membership.ts';

/**
 * Adds a member to the account of an invitation. A repeat by the same member has no further effect and the same result.
 * @throws DomainError `invitation-not-found`, `identity-not-verified`, and what `FamilyAccount.accept` throws
 */
export async function acceptInvitation(
  em: EntityManager,
  member: MemberSystem,
  { code, memberId }: { code: string; memberId: string },
  at = new Date(),
): Promise<FamilyAccountWithMembers> {
  const { familyAccountId } = await findInvitation(em.fork(), code);
  await mustBeVerified(member, memberId);
  return refusingSecondMembership(() =>
    em.transactional(async (tx) => {
      const before = await lockFamilyAccount(tx, familyAccountId);
      const invitation = await findInvitation(tx, code);
      const joined = before.account.accept(before.members, invitation, { id: uuid(), memberId }, at);
      if (!joined) return before;
      tx.persist(joined);
      return { account: before.account, members: [...before.members, joined] };
    }),
  );
}

async function findInvitation(em: EntityManager, code: string): Promise<Invitation> {
  const invitation = await em.findOne(Invitation, { codeHash: hashCode(code) });
  if (!invitation) throw new DomainError('invitation-not-found', 'Invitation not found', 'not-found');
  return invitation;
}
