import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { Invitation } from '../domain/invitation.ts';
import { hashCode, newCode } from '../invitation-codes.ts';
import { lockOwnFamilyAccount } from './lock-family-account.ts';

/**
 * Issues an invitation to an account.
 * @param by the requesting member, who must be the owner
 * @returns the code, which is returned only once: only its hash is stored
 * @throws DomainError `family-account-not-found`, `owner-only`, `family-account-full`, `too-many-invitations`
 */
export async function invite(
  em: EntityManager,
  { familyAccountId, by }: { familyAccountId: string; by: string },
  at = new Date(),
): Promise<{ code: string; expiresAt: Date }> {
  const code = newCode();
  const { expiresAt } = await em.transactional(async (tx) => {
    const { account, members } = await lockOwnFamilyAccount(tx, familyAccountId, by);
    account.mustBeOwnedBy(by);
    const open = await tx.count(Invitation, { familyAccountId, acceptedAt: null, expiresAt: { $gt: at } });
    const invitation = account.invite(members, open, { id: uuid(), codeHash: hashCode(code) }, at);
    tx.persist(invitation);
    return invitation;
  });
  return { code, expiresAt };
}
