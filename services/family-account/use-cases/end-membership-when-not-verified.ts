import type { EntityManager } from '@mikro-orm/postgresql';
import type { EndReason } from '../domain/membership.ts';
import type { MemberSystem, Standing } from '../member-system.ts';
import { lockFamilyAccount } from './lock-family-account.ts';
import { findMembership } from './read-family-account.ts';

/** The state of a member who belongs to a family account, and the membership at the time of the check. */
export interface Finding {
  readonly familyAccountId: string;
  readonly membershipId: string;
  readonly standing: Standing;
}

/**
 * Reads a member's newest state from the member system. Call it before the transaction, so that nothing is locked meanwhile.
 * @returns undefined for a member without a family account: the member system need not be called. A member who is joining at this moment
 *   is checked again after the commit (`joined-check`).
 * @throws DependencyUnavailable `member-api-unavailable`
 */
export async function askAboutMember(
  em: EntityManager,
  member: MemberSystem,
  memberId: string,
): Promise<Finding | undefined> {
  const membership = await findMembership(em, memberId);
  if (!membership) return undefined;
  const { id: membershipId, familyAccountId } = membership;
  return { familyAccountId, membershipId, standing: await member.standingOf(memberId) };
}

/**
 * Ends the membership that was checked, if its member is no longer verified. A membership that began since is left alone: it has a check
 * of its own. Runs in `em`'s transaction.
 */
export async function endMembershipWhenNotVerified(
  em: EntityManager,
  { familyAccountId, membershipId, standing }: Finding,
  at = new Date(),
): Promise<void> {
  if (standing === 'VERIFIED') return;
  const { account, members } = await lockFamilyAccount(em, familyAccountId);
  const membership = members.find(({ id }) => id === membershipId);
  if (membership) account.endMembership(members, membership, REASONS[standing], at);
}

const REASONS: Record<Exclude<Standing, 'VERIFIED'>, EndReason> = {
  NOT_VERIFIED: 'IDENTITY_NOT_VERIFIED',
  WITHDRAWN: 'MEMBER_WITHDRAWN',
};
