import { createHash, timingSafeEqual } from 'node:crypto';
import type { Authenticate } from '#http/authentication';
import type { SessionOf } from '../session-cache.ts';

export interface Credentials {
  readonly operatorToken: string;
  /** Looks up the session of a token. */
  readonly sessionOf: SessionOf;
}

/** Returns a function that identifies the caller by bearer token: operator or member. Members' tokens are checked by the member system. */
export function authenticator({ operatorToken, sessionOf }: Credentials): Authenticate {
  const expected = digest(operatorToken);
  return async (token, _, ip) => {
    // Digests are compared in constant time, so that timing reveals nothing about the expected token.
    if (timingSafeEqual(digest(token), expected)) return { kind: 'operator' };
    const session = await sessionOf(token, ip);
    return session && { kind: 'member', ...session };
  };
}

const digest = (token: string): Buffer => createHash('sha256').update(token).digest();
