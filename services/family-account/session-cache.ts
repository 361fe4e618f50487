import { createHash } from 'node:crypto';
import { SESSION_TOKEN } from '#member/contract';
import { evictOldest } from './evict-oldest.ts';
import type { MemberSession, MemberSystem } from './member-system.ts';
import { RefusedTokens } from './refused-tokens.ts';

/** Milliseconds for which a session may still be accepted here after it has ended. docs/decisions/0011 */
const TTL_MS = 2_000;
const MAX_SESSIONS = 10_000;
/** Milliseconds that an invalid token is remembered: a client that polls with an ended session counts once in this time. */
const REFUSED_TTL_MS = 60_000;

interface Lookup {
  /** Start of the lookup, milliseconds. */
  at: number;
  readonly result: Promise<MemberSession | undefined>;
}

/**
 * Returns the live session of a token.
 * @param ip address that the token was sent from
 */
export type SessionOf = (token: string, ip: string) => Promise<MemberSession | undefined>;

/**
 * Caches session lookups for two seconds, counted from the start of the lookup. The key is a hash of the token, so that a memory dump
 * reveals no token. Live sessions have a map of their own, so that invalid tokens cannot evict them.
 *
 * Malformed tokens are refused without a lookup. Tokens that were live at their last lookup are always looked up; others only within the
 * limits of their network.
 * @param lookUp looks up a token in the member system
 */
export function cacheSessions(
  lookUp: MemberSystem['sessionOf'],
  { forMs = TTL_MS, most = MAX_SESSIONS, now = () => performance.now() } = {},
): SessionOf {
  const live = new Map<string, Lookup>();
  // Lookups of other tokens in flight. In `live`, a flood of made-up tokens would evict live sessions.
  const pending = new Map<string, Lookup>();
  const refusedTokens = new RefusedTokens(now);
  /** When a token was found invalid: it never becomes valid again. */
  const refusedAt = new Map<string, number>();
  return async (token, ip) => {
    if (!SESSION_TOKEN.test(token)) return undefined;
    const key = createHash('sha256').update(token).digest('base64');
    const cached = live.get(key) ?? pending.get(key);
    if (cached && now() - cached.at < forMs) return cached.result;
    const wasLive = live.has(key);
    if (!wasLive && now() - (refusedAt.get(key) ?? Number.NEGATIVE_INFINITY) < REFUSED_TTL_MS) return undefined;
    const result = wasLive ? lookUp(token, { wasLive }) : refusedTokens.limit(ip, () => lookUp(token, { wasLive }));
    const lookup: Lookup = { at: now(), result };
    // Deleted first, so that the map stays in the order of lookups: `evictOldest` removes the first entry.
    if (wasLive) live.delete(key);
    (wasLive ? live : pending).set(key, lookup);
    try {
      const session = await result;
      if (session && !live.has(key)) live.set(key, lookup);
      if (!session && live.get(key) === lookup) live.delete(key);
      if (!session) {
        refusedAt.delete(key);
        refusedAt.set(key, now());
      }
      evictOldest(live, most);
      evictOldest(refusedAt, most);
      return session;
    } catch (error) {
      // An outage does not end a session: keep it as live, and look it up again at the next request.
      if (wasLive) lookup.at = Number.NEGATIVE_INFINITY;
      throw error;
    } finally {
      if (pending.get(key) === lookup) pending.delete(key);
    }
  };
}
