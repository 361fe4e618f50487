import { createHmac, hkdfSync } from 'node:crypto';

/** Returns what is stored of a person's CI: equal for the same person, and useless without the key. */
export type HashIdentity = (ci: string) => string;

/**
 * Creates the keyed hash of CIs. A CI identifies a person in every Korean service, and there are few enough to try all: an unkeyed hash
 * would hide nothing.
 * @param root the system's root secret, from which the key is derived
 */
export function identityHasher(root: Buffer): HashIdentity {
  const key = Buffer.from(hkdfSync('sha256', root, '', 'identity of a member', 32));
  return (ci) => createHmac('sha256', key).update(ci).digest('hex');
}
