import { DomainError } from '#process/errors';
import type { MemberSystem } from '../member-system.ts';

/**
 * Requires a member's identity to be verified, as every member of a family account needs. Call it before the transaction, so that nothing
 * is locked while the member system answers. A change between this check and the commit is found by the check after joining
 * (end-membership-when-not-verified.ts).
 * @throws DomainError `identity-not-verified`
 * @throws DependencyUnavailable `member-api-unavailable`
 */
export async function mustBeVerified(member: MemberSystem, memberId: string): Promise<void> {
  if ((await member.standingOf(memberId)) === 'VERIFIED') return;
  throw new DomainError(
    'identity-not-verified',
    'Only a member with a verified identity can open or join a family account',
    'forbidden',
  );
}
