import { createHash } from 'node:crypto';
import type { MemberSession, MemberSystem } from './member-system.ts';

/** Whoever logs out there is refused here this much later at the latest; milliseconds. docs/decisions/0011 */
const REMEMBERED_MS = 2_000;
const MOST_SESSIONS = 10_000;

/**
 * Asks about each session once in two seconds, counted from the question, however many requests it makes meanwhile. Only live sessions are
 * remembered, by the hash of their token: a thousand wrong tokens push nobody out, and a dump of the memory opens nothing.
 */
export function rememberSessions(
  ask: MemberSystem['sessionOf'],
  { forMs = REMEMBERED_MS, most = MOST_SESSIONS, now = () => performance.now() } = {},
): MemberSystem['sessionOf'] {
  const asked = new Map<string, { at: number; answer: Promise<MemberSession | undefined> }>();
  return async (token) => {
    const key = createHash('sha256').update(token).digest('base64');
    const known = asked.get(key);
    if (known && now() - known.at < forMs) return known.answer;
    const entry = { at: now(), answer: ask(token) };
    // Deleted first, so that the map stays in the order of the questions and the first one is the oldest.
    asked.delete(key);
    asked.set(key, entry);
    forgetOldest(asked, most);
    const forget = (): void => {
      if (asked.get(key) === entry) asked.delete(key);
    };
    return entry.answer.then(
      (session) => {
        if (!session) forget();
        return session;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
  };
}

function forgetOldest(map: Map<string, unknown>, most: number): void {
  if (map.size <= most) return;
  const [oldest] = map.keys();
  map.delete(oldest!);
}
