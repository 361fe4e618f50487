import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import type { LoginThrottle } from '../login-throttle.ts';
import { hashPassword, verifyPassword } from '../passwords.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';
import { readMember } from './read-member.ts';

/**
 * Changes a member's password and ends all other sessions.
 * @param change `sessionNumber` is the current session, which stays live
 * @throws DomainError `wrong-password`, also when a concurrent request changes the password; `too-many-attempts`
 */
export async function changePassword(
  em: EntityManager,
  change: { memberId: string; sessionNumber: number; currentPassword: string; newPassword: string; ip: string },
  limits: LoginThrottle,
  at = new Date(),
): Promise<void> {
  // Hashing is slow: it runs before the member is locked; under the lock the hash is compared again.
  const { passwordHash: verified } = await readMember(em, change.memberId);
  const isRight = await limits.guard(em, { account: change.memberId, address: change.ip }, () =>
    verifyPassword(verified, change.currentPassword),
  );
  if (!isRight) throw wrongPassword();
  const passwordHash = await hashPassword(change.newPassword);
  await em.transactional(async (tx) => {
    const member = await lockMember(tx, change.memberId);
    if (member.passwordHash !== verified) throw wrongPassword();
    const live = await findLiveSessions(tx, member.id);
    member.changePassword(
      passwordHash,
      live.filter(({ number }) => number !== change.sessionNumber),
      at,
    );
  });
}

function wrongPassword(): DomainError {
  return new DomainError('wrong-password', 'The current password is wrong', 'unprocessable');
}
