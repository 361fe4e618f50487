import { DomainError } from '#service/errors';
import type { Principal } from '#service/http';

/**
 * Lets members reach what is their own, and others whom the route is open to anything.
 * @throws DomainError `forbidden`, the same whether that other member exists or not
 */
export function mustOwn(principal: Principal, memberId: string): void {
  if (principal.kind === 'member' && principal.memberId !== memberId) {
    throw new DomainError('forbidden', 'This is another member’s', 'forbidden');
  }
}
