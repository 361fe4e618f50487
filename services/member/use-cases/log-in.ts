import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#service/errors';
import { Member } from '../domain/member.ts';
import type { Device, Session } from '../domain/session.ts';
import type { LogInLimits } from '../log-in-limits.ts';
import { verifyPassword } from '../passwords.ts';
import { hashToken, newToken } from '../tokens.ts';
import { lockMember } from './lock-member.ts';

export interface LogIn {
  readonly email: string;
  readonly password: string;
  readonly device: Device;
  readonly ip: string;
  readonly userAgent: string;
}

/**
 * Opens a session. What follows from it, such as the end of other sessions, is the workers' business.
 * @returns the session and its token, which is told once and not stored
 * @throws DomainError `invalid-credentials`, the same for a wrong password and an unknown address; `too-many-attempts`
 */
export async function logIn(
  em: EntityManager,
  { email, password, ...login }: LogIn,
  limits: LogInLimits,
  at = new Date(),
): Promise<{ session: Session; token: string }> {
  const found = await em.findOne(Member, { email }, { disableIdentityMap: true });
  const isRight = await limits.guard(em, { account: email, address: login.ip }, () =>
    verifyPassword(found?.passwordHash, password),
  );
  if (!isRight || !found) throw invalidCredentials();
  const token = newToken();
  const session = await em.transactional(async (tx) => {
    const member = await lockMember(tx, found.id);
    // While the password was being checked the member may have changed it, or have withdrawn.
    if (member.passwordHash !== found.passwordHash) throw invalidCredentials();
    const opened = member.logIn({ ...login, number: await nextSessionNumber(tx), tokenHash: hashToken(token) }, at);
    tx.persist(opened);
    return opened;
  });
  return { session, token };
}

/** Taken under the member's lock: a member's later session has the higher number. */
async function nextSessionNumber(em: EntityManager): Promise<number> {
  const [row] = await em.execute<[{ number: string }]>(`select nextval('session_number') as number`);
  return Number(row.number);
}

function invalidCredentials(): DomainError {
  return new DomainError('invalid-credentials', 'E-mail address or password are not right', 'unauthenticated');
}
