import type { EntityManager } from '@mikro-orm/postgresql';
import type { Member } from '../domain/member.ts';
import type { HashIdentity } from '../identities.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import { IDENTITY_TAKEN, refusingDuplicates } from '../unique.ts';
import { lockMember } from './lock-member.ts';
import { readMember } from './read-member.ts';

/**
 * Verifies who a member is, from a verification that the person has gone through at the provider. A person can be one member at a time.
 * @throws DomainError `identity-taken`, `already-verified`, and what the provider's port throws
 */
export async function verifyIdentity(
  em: EntityManager,
  { memberId, identityVerificationId }: { memberId: string; identityVerificationId: string },
  { provider, hashIdentity }: { provider: IdentityProvider; hashIdentity: HashIdentity },
  at = new Date(),
): Promise<Member> {
  (await readMember(em, memberId)).mustBeActive();
  // Before the transaction: nothing is locked while somebody else's server thinks.
  const { ci } = await provider.find(identityVerificationId);
  return refusingDuplicates(IDENTITY_TAKEN, () =>
    em.transactional(async (tx) => {
      const member = await lockMember(tx, memberId);
      member.verifyIdentity(hashIdentity(ci), at);
      return member;
    }),
  );
}
