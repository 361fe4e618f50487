import { createHmac, hkdfSync } from 'node:crypto';

/** Answers what is stored of a person's CI: the same for the same person, and of no use to anybody without the key. */
export type HashIdentity = (ci: string) => string;

/**
 * A CI names a person in every Korean service, and there are few enough of them to try all: a plain hash would hide nothing.
 * @param root the system's own secret: the key for this is derived from it
 */
export function identityHasher(root: Buffer): HashIdentity {
  const key = Buffer.from(hkdfSync('sha256', root, '', 'identity of a member', 32));
  return (ci) => createHmac('sha256', key).update(ci).digest('hex');
}
