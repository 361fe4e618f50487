import type { EntityManager } from '@mikro-orm/postgresql';
import { Session } from '../domain/session.ts';
import { hashToken } from '../tokens.ts';

/** More often is not worth a write per request. */
const SEEN_AGAIN_AFTER_MS = 60_000;

/** The live session that a token opens, noted as seen; null when it has ended or never was. */
export async function findLiveSession(em: EntityManager, token: string, at = new Date()): Promise<Session | null> {
  const session = await em.findOne(Session, { tokenHash: hashToken(token) }, { disableIdentityMap: true });
  if (session && at.getTime() - session.lastSeenAt.getTime() >= SEEN_AGAIN_AFTER_MS) await noteSeen(em, session, at);
  return session;
}

/** Skips a session that is being changed at this moment: nobody should wait for a lock to be let in. */
async function noteSeen(em: EntityManager, { number }: Session, at: Date): Promise<void> {
  await em.execute(
    `update session set last_seen_at = ?
      where number = (select number from session where number = ? and logged_out_at is null for update skip locked)`,
    [at, number],
  );
}
