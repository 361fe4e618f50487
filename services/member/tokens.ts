import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Generates a bearer token in the format `SESSION_TOKEN`: 256 random bits, so that an unkeyed hash of it is safe to store. */
export function newToken(): string {
  return randomBytes(32).toString('base64url');
}

/** Returns what is stored of a token: SHA-256, hex. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Compares two tokens in constant time. */
export function isSameToken(given: string, expected: string): boolean {
  return timingSafeEqual(Buffer.from(hashToken(given)), Buffer.from(hashToken(expected)));
}
