import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#service/errors';
import type { LogInLimits } from '../log-in-limits.ts';
import { hashPassword, verifyPassword } from '../passwords.ts';
import { findLiveSessions } from './list-sessions.ts';
import { lockMember } from './lock-member.ts';
import { readMember } from './read-member.ts';

/**
 * Ends all sessions but the one in which it is asked for.
 * @throws DomainError `wrong-password`, also when the password is being changed by somebody else at this moment; `too-many-attempts`
 */
export async function changePassword(
  em: EntityManager,
  change: { memberId: string; sessionNumber: number; currentPassword: string; newPassword: string; ip: string },
  limits: LogInLimits,
  at = new Date(),
): Promise<void> {
  // Hashing takes long: it is done before the lock is taken, and the lock then shows whether it still holds good.
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
  return new DomainError('wrong-password', 'The current password is not right', 'unprocessable');
}
