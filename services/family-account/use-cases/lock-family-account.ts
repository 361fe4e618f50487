import { LockMode } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import { FamilyAccount } from '../domain/family-account.ts';
import { Membership } from '../domain/membership.ts';

export interface FamilyAccountWithMembers {
  readonly account: FamilyAccount;
  /** The current memberships, the longest-standing member's first. */
  readonly members: readonly Membership[];
}

/**
 * Loads the newest state of a family account and locks it until the transaction ends. Every change of an account, its memberships or its
 * invitations must start with this: the lock enforces the limit of five members and makes `closed` an account's last event.
 * @param em must be in a transaction
 * @throws DomainError `family-account-not-found`
 */
export async function lockFamilyAccount(em: EntityManager, id: string): Promise<FamilyAccountWithMembers> {
  const account = await em.findOne(FamilyAccount, id, { lockMode: LockMode.PESSIMISTIC_WRITE, refresh: true });
  if (!account) throw familyAccountNotFound();
  return { account, members: await findMembers(em, id) };
}

/**
 * Loads and locks a family account of which `memberId` must be a member.
 * @throws DomainError `family-account-not-found`, both for a missing account and for one of other members
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

/** Returns an account's current memberships, the longest-standing member's first. Lock the account before changing them. */
export function findMembers(em: EntityManager, familyAccountId: string): Promise<Membership[]> {
  return em.find(Membership, { familyAccountId, endedAt: null }, { orderBy: { position: 'asc' }, refresh: true });
}

export function familyAccountNotFound(): DomainError {
  return new DomainError('family-account-not-found', 'Family account not found', 'not-found');
}
