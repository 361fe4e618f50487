import type { EntityManager } from '@mikro-orm/postgresql';
import type { Member } from '../domain/member.ts';
import type { HashIdentity } from '../identity-hash.ts';
import type { IdentityProvider } from '../identity-provider.ts';
import { IDENTITY_TAKEN, refusingDuplicates } from '../unique-violations.ts';
import { lockMember } from './lock-member.ts';
import { readMember } from './read-member.ts';

/**
 * Verifies a member's identity with a verification completed at the identity provider. A person can be only one member at a time.
 * @throws DomainError `identity-taken`, `already-verified`, and what `IdentityProvider.find` throws
 */
export async function verifyIdentity(
  em: EntityManager,
  { memberId, identityVerificationId }: { memberId: string; identityVerificationId: string },
  { provider, hashIdentity }: { provider: IdentityProvider; hashIdentity: HashIdentity },
  at = new Date(),
): Promise<Member> {
  (await readMember(em, memberId)).mustBeActive();
  // Before the transaction, so that nothing is locked while the provider responds.
  const { ci } = await provider.find(identityVerificationId);
  return refusingDuplicates(IDENTITY_TAKEN, () =>
    em.transactional(async (tx) => {
      const member = await lockMember(tx, memberId);
      member.verifyIdentity(hashIdentity(ci), at);
      return member;
    }),
  );
}
