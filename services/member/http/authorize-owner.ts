import type { Principal } from '#http/http';
import { DomainError } from '#process/errors';

/**
 * Requires a member to be the owner of the resource. Other principals are allowed: the route's `access` has admitted them.
 * @throws DomainError `forbidden`, whether or not the other member exists
 */
export function authorizeOwner(principal: Principal, memberId: string): void {
  if (principal.kind === 'member' && principal.memberId !== memberId) {
    throw new DomainError('forbidden', 'This belongs to another member', 'forbidden');
  }
}
