import type { EntityManager } from '@mikro-orm/postgresql';
import { DomainError } from '#process/errors';
import { Member } from '../domain/member.ts';
import type { Device, Session } from '../domain/session.ts';
import type { LoginThrottle } from '../login-throttle.ts';
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
 * Opens a session. Workers do the rest, such as ending other sessions.
 * @returns the session, and its token, which is returned only once: only its hash is stored
 * @throws DomainError `invalid-credentials`, the same for a wrong password and an unknown address; `too-many-attempts`
 */
export async function logIn(
  em: EntityManager,
  { email, password, ...login }: LogIn,
  limits: LoginThrottle,
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
    // During the check the member may have changed the password or withdrawn.
    if (member.passwordHash !== found.passwordHash) throw invalidCredentials();
    const opened = member.logIn({ ...login, number: await nextSessionNumber(tx), tokenHash: hashToken(token) }, at);
    tx.persist(opened);
    return opened;
  });
  return { session, token };
}

/** Returns the next session number. Call it under the member's lock, so that a member's later session has the higher number. */
async function nextSessionNumber(em: EntityManager): Promise<number> {
  const [row] = await em.execute<[{ number: string }]>(`select nextval('session_number') as number`);
  return Number(row.number);
}

function invalidCredentials(): DomainError {
  return new DomainError('invalid-credentials', 'E-mail address or password is wrong', 'unauthenticated');
}
