import { hash, verify } from '@node-rs/argon2';

/** Argon2id, as OWASP advises: 19 MiB and two passes, some 30 ms in a thread of its own, so that the event loop goes on. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Verified against when there is no member, so that an unknown address takes as long to refuse as a wrong password. */
const NOBODY = hash('nobody has this password', COST);
// Awaited by the first log-in; it must not end the process before that.
NOBODY.catch(() => undefined);

/** @returns the hash in PHC form, with its salt and its cost */
export function hashPassword(password: string): Promise<string> {
  return hash(password, COST);
}

/** @param passwordHash null or undefined where there is no such member: then the answer is false, after the same time */
export async function verifyPassword(passwordHash: string | null | undefined, password: string): Promise<boolean> {
  const matches = await verify(passwordHash ?? (await NOBODY), password);
  return matches && passwordHash != null;
}
