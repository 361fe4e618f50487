import { IsolationLevel } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { FamilyAccount } from '../domain/family-account.ts';
import { Membership } from '../domain/membership.ts';
import { type FamilyAccountWithMembers, familyAccountNotFound, findMembers } from './lock-family-account.ts';

/**
 * A family account as it is now, to be looked at.
 * @param reader a member, who sees no other account than the own one; undefined for somebody who may see all
 * @throws DomainError `family-account-not-found`, whether there is none or it is other people's
 */
export async function readFamilyAccount(
  em: EntityManager,
  { id, reader }: { id: string; reader: string | undefined },
): Promise<FamilyAccountWithMembers> {
  const found = await find(em, id);
  if (!found || (reader !== undefined && !isMember(found, reader))) throw familyAccountNotFound();
  return found;
}

/** The account that a member belongs to, if any. */
export async function findFamilyAccountOf(
  em: EntityManager,
  memberId: string,
): Promise<FamilyAccountWithMembers | undefined> {
  const membership = await findMembership(em, memberId);
  const found = membership ? await find(em, membership.familyAccountId) : undefined;
  // The member may have left in between.
  return found && isMember(found, memberId) ? found : undefined;
}

/** A member's membership that has not ended, if any: there is one at most. */
export function findMembership(em: EntityManager, memberId: string): Promise<Membership | null> {
  return em.findOne(Membership, { memberId, endedAt: null }, { disableIdentityMap: true });
}

/** In one snapshot: between two, the owner may have left. */
function find(em: EntityManager, id: string): Promise<FamilyAccountWithMembers | undefined> {
  return em.transactional(
    async (tx) => {
      const account = await tx.findOne(FamilyAccount, id);
      return account ? { account, members: await findMembers(tx, id) } : undefined;
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ, readOnly: true },
  );
}

function isMember({ members }: FamilyAccountWithMembers, memberId: string): boolean {
  return members.some((membership) => membership.memberId === memberId);
}
