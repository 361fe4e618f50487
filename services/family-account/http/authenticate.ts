import { createHash, timingSafeEqual } from 'node:crypto';
import type { Principal } from '#service/http';
import type { MemberSystem } from '../member-system.ts';

export interface Credentials {
  readonly operatorToken: string;
  /** Whose session a token opens. */
  readonly sessionOf: MemberSystem['sessionOf'];
}

/** Tells whose a bearer token is: the operators', or a member's, which only the member system knows. */
export function authenticator({ operatorToken, sessionOf }: Credentials) {
  const expected = digest(operatorToken);
  return async (token: string): Promise<Principal | undefined> => {
    // Compared by digest, in a time that tells nothing of how much of it is right.
    if (timingSafeEqual(digest(token), expected)) return { kind: 'operator' };
    const session = await sessionOf(token);
    return session && { kind: 'member', ...session };
  };
}

const digest = (token: string): Buffer => createHash('sha256').update(token).digest();
