import type { EntityManager } from '@mikro-orm/postgresql';
import type { EndReason } from '../domain/membership.ts';
import type { MemberSystem, Standing } from '../member-system.ts';
import { lockFamilyAccount } from './lock-family-account.ts';
import { findMembership } from './read-family-account.ts';

/** What was found out about a member who belongs to a family account. */
export interface Finding {
  readonly familyAccountId: string;
  readonly membershipId: string;
  readonly standing: Standing;
}

/**
 * Asks for the newest state of a member, where it matters here. To be called before the transaction.
 * @returns undefined for a member who belongs to no family account: nobody has to be asked about strangers. One who is joining at this
 *   moment is asked about once more when that is committed.
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
 * Ends the membership that was asked about, when its member is not verified any more: that one, and not another that the member
 * may have begun since, which was asked about on its own. In `em`'s transaction.
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
