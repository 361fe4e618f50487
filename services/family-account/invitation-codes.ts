import { createHash, randomBytes } from 'node:crypto';

/** Generates an invitation code: 192 random bits, so that it cannot be guessed and an unkeyed hash of it is safe to store. */
export function newCode(): string {
  return randomBytes(24).toString('base64url');
}

/** Returns what is stored of a code: SHA-256, hex. Read access to the database is not enough to join. */
export function hashCode(code: string): string {
  return createHash('sha256').update(code).digest('hex');
}
