import type { EntityManager } from '@mikro-orm/postgresql';
import type { Principal } from '#http/http';
import { isSameToken } from '../tokens.ts';
import { findLiveSession } from '../use-cases/find-live-session.ts';

export interface Credentials {
  readonly operatorToken: string;
  /** By the name of the system that holds the token. */
  readonly readerTokens: ReadonlyMap<string, string>;
}

/** Returns a function that identifies the caller by bearer token: operator, reader (another system), or member with a live session. */
export function authenticator({ operatorToken, readerTokens }: Credentials) {
  return async (token: string, em: EntityManager): Promise<Principal | undefined> => {
    if (isSameToken(token, operatorToken)) return { kind: 'operator' };
    const reader = [...readerTokens].find(([, expected]) => isSameToken(token, expected));
    if (reader) return { kind: 'reader', name: reader[0] };
    const session = await findLiveSession(em, token);
    return session ? { kind: 'member', memberId: session.memberId, sessionNumber: String(session.number) } : undefined;
  };
}
