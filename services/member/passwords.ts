import { hash, verify } from '@node-rs/argon2';
import { DependencyUnavailable } from '#process/errors';

/** Argon2id, as OWASP recommends: 19 MiB and two passes, about 30 ms. Runs in a thread, so that the event loop is not blocked. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Verified against when the member does not exist, so that an unknown address takes as long as a wrong password. */
const DUMMY_HASH = hash('dummy password', COST);
// A rejection surfaces at the first log-in that awaits it; unhandled until then, it would end the process.
DUMMY_HASH.catch(() => undefined);

/** Limit of concurrent hashes: each takes 19 MiB and a thread. Further callers are refused immediately instead of queued. */
const MAX_CONCURRENT = 64;
let running = 0;

async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (running >= MAX_CONCURRENT)
    throw new DependencyUnavailable('busy', 'Too many passwords are being checked: try again', {
      retryAfterSeconds: 1,
    });
  running += 1;
  try {
    return await work();
  } finally {
    running -= 1;
  }
}

/** @returns the hash in PHC format, with its salt and cost */
export function hashPassword(password: string): Promise<string> {
  return limited(() => hash(password, COST));
}

/**
 * Verifies a password.
 * @param passwordHash null or undefined if the member does not exist: the result is then false, after the same time
 */
export async function verifyPassword(passwordHash: string | null | undefined, password: string): Promise<boolean> {
  const matches = await limited(async () => verify(passwordHash ?? (await DUMMY_HASH), password));
  return matches && passwordHash != null;
}
