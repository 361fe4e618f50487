import { DomainError } from '#service/errors';
import type { MemberSystem } from '../member-system.ts';

/**
 * Only persons whose identity is verified belong to family accounts. Asked before any transaction: nothing is locked while another
 * system answers. What changes between this answer and the commit is found by asking again (end-membership-when-not-verified.ts).
 * @throws DomainError `identity-not-verified`
 * @throws DependencyUnavailable `member-api-unavailable`
 */
export async function mustBeVerified(member: MemberSystem, memberId: string): Promise<void> {
  if ((await member.standingOf(memberId)) === 'VERIFIED') return;
  throw new DomainError(
    'identity-not-verified',
    'Only a member whose identity is verified can belong to a family account',
    'forbidden',
  );
}
