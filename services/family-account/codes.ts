import { createHash, randomBytes } from 'node:crypto';

/** A new code of an invitation: 192 random bits, so that guessing is hopeless and a plain hash of it is safe to store. */
export function newCode(): string {
  return randomBytes(24).toString('base64url');
}

/** What is stored of a code: SHA-256, hex. Whoever reads the database cannot join. */
export function hashCode(code: string): string {
  return createHash('sha256').update(code).digest('hex');
}
