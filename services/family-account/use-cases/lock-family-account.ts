import { LockMode } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#service/errors';
import { FamilyAccount } from '../domain/family-account.ts';
import { Membership } from '../domain/membership.ts';

export interface FamilyAccountWithMembers {
  readonly account: FamilyAccount;
  /** The memberships that have not ended, the longest-standing member's first. */
  readonly members: readonly Membership[];
}

/**
 * Loads a family account as it is now and keeps others from changing it until the transaction ends. Every change of an account, of its
 * memberships or its invitations begins with this: that is what makes five members five, and closed the last fact of an account.
 * @param em in a transaction
 * @throws DomainError `family-account-not-found`
 */
export async function lockFamilyAccount(em: EntityManager, id: string): Promise<FamilyAccountWithMembers> {
  const account = await em.findOne(FamilyAccount, id, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true });
  if (!account) throw familyAccountNotFound();
  return { account, members: await findMembers(em, id) };
}

/**
 * The same, for somebody who must be one of its members.
 * @throws DomainError `family-account-not-found`, whether there is none or it is other people's
 */
export async function lockOwnFamilyAccount(
  em: EntityManager,
  id: string,
  memberId: string,
): Promise<FamilyAccountWithMembers & { own: Membership }> {
  const { account, members } = await lockFamilyAccount(em, id);
  const own = members.find((membership) => membership.memberId === memberId);
  if (!own) throw familyAccountNotFound();
  return { account, members, own };
}

/** An account's memberships that have not ended, the longest-standing member's first. To change them, have the account locked. */
export function findMembers(em: EntityManager, familyAccountId: string): Promise<Membership[]> {
  return em.find(Membership, { familyAccountId, endedAt: null }, { orderBy: { position: 'asc' }, refresh: true });
}

export function familyAccountNotFound(): DomainError {
  return new DomainError('family-account-not-found', 'There is no such family account', 'not-found');
}
