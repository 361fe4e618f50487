import { hash, verify } from '@node-rs/argon2';
import { DependencyUnavailable } from '#service/errors';

/** Argon2id, as OWASP advises: 19 MiB and two passes, some 30 ms in a thread of its own, so that the event loop goes on. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Verified against when there is no member, so that an unknown address takes as long to refuse as a wrong password. */
const NOBODY = hash('nobody has this password', COST);
// Awaited by the first log-in; it must not end the process before that.
NOBODY.catch(() => undefined);

/** Each takes 19 MiB and a thread: who comes later than so many waits better at home than in a queue here. */
const MOST_AT_ONCE = 64;
let underWay = 0;

async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (underWay >= MOST_AT_ONCE)
    throw new DependencyUnavailable('busy', 'Too many passwords are being checked: try again', {
      retryAfterSeconds: 1,
    });
  underWay += 1;
  try {
    return await work();
  } finally {
    underWay -= 1;
  }
}

/** @returns the hash in PHC form, with its salt and its cost */
export function hashPassword(password: string): Promise<string> {
  return limited(() => hash(password, COST));
}

/** @param passwordHash null or undefined where there is no such member: then the answer is false, after the same time */
export async function verifyPassword(passwordHash: string | null | undefined, password: string): Promise<boolean> {
  const matches = await limited(async () => verify(passwordHash ?? (await NOBODY), password));
  return matches && passwordHash != null;
}
