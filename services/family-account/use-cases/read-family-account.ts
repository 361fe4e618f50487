import { IsolationLevel } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { FamilyAccount } from '../domain/family-account.ts';
import { Membership } from '../domain/membership.ts';
import { type FamilyAccountWithMembers, familyAccountNotFound, findMembers } from './lock-family-account.ts';

/**
 * Reads the newest state of a family account, without a lock.
 * @param reader a member, who may only read the account they belong to; undefined for operators, who may read all
 * @throws DomainError `family-account-not-found`, both for a missing account and for one of other members
 */
export async function readFamilyAccount(
  em: EntityManager,
  { id, reader }: { id: string; reader: string | undefined },
): Promise<FamilyAccountWithMembers> {
  const found = await find(em, id);
  if (!found || (reader !== undefined && !isMember(found, reader))) throw familyAccountNotFound();
  return found;
}

/** Returns the account that a member belongs to, if any. */
export async function findFamilyAccountOf(
  em: EntityManager,
  memberId: string,
): Promise<FamilyAccountWithMembers | undefined> {
  const membership = await findMembership(em, memberId);
  const found = membership ? await find(em, membership.familyAccountId) : undefined;
  // The member may have left in between.
  return found && isMember(found, memberId) ? found : undefined;
}

/** Returns a member's current membership, if any; there is at most one. */
export function findMembership(em: EntityManager, memberId: string): Promise<Membership | null> {
  return em.findOne(Membership, { memberId, endedAt: null }, { disableIdentityMap: true });
}

/** Reads account and members in one snapshot: between two queries the owner may leave. */
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
