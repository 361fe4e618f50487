import type { EntityManager } from '@mikro-orm/postgresql';
import { SESSION_TOKEN } from '../contract/external-event.ts';
import { Session } from '../domain/session.ts';
import { hashToken } from '../tokens.ts';

/** Resolution of `lastSeenAt`, milliseconds: it spares a write per request. */
const SEEN_AGAIN_AFTER_MS = 60_000;

/** Returns the live session of a token and updates its `lastSeenAt`; null when it has ended or never existed. */
export async function findLiveSession(em: EntityManager, token: string, at = new Date()): Promise<Session | null> {
  if (!SESSION_TOKEN.test(token)) return null;
  const session = await em.findOne(Session, { tokenHash: hashToken(token) }, { disableIdentityMap: true });
  if (session && at.getTime() - session.lastSeenAt.getTime() >= SEEN_AGAIN_AFTER_MS) await noteSeen(em, session, at);
  return session;
}

/** Skips a locked session, so that authentication never waits for a lock. */
async function noteSeen(em: EntityManager, { number }: Session, at: Date): Promise<void> {
  await em.execute(
    `update session set last_seen_at = ?
      where number = (select number from session where number = ? and logged_out_at is null for update skip locked)`,
    [at, number],
  );
}
