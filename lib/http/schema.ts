import { z } from 'zod';

// Only these change the reading order of other characters, which can be used to forge names.
const BIDIRECTIONAL_CONTROLS = /[\u202a-\u202e\u2066-\u2069]/;
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

/**
 * A string typed by a user. Every stored string must be declared with it: it is normalised to NFC, measured in code
 * points (as in JSON Schema), and has no characters that PostgreSQL or a log cannot hold (NUL, lone surrogates, control
 * characters).
 * @param min least number of code points (default 1)
 * @param outerSpaces whether it may begin or end with white space, as a password may (default false)
 */
export function text({ min = 1, max, outerSpaces = false }: { min?: number; max: number; outerSpaces?: boolean }) {
  return z
    .string()
    .refine((value) => value.isWellFormed(), { error: 'contains half a surrogate pair', abort: true })
    .overwrite((value) => value.normalize('NFC'))
    .refine((value) => !/\p{Cc}/u.test(value), 'contains control characters')
    .refine((value) => !BIDIRECTIONAL_CONTROLS.test(value), 'contains characters that change the reading direction')
    .refine((value) => outerSpaces || value === value.trim(), 'begins or ends with white space')
    .refine((value) => codePoints(value) <= max, `is longer than ${max} characters`)
    .refine((value) => codePoints(value) >= min, `is shorter than ${min} character${min === 1 ? '' : 's'}`)
    .refine((value) => min === 0 || VISIBLE.test(value), 'contains no visible characters')
    .meta({ minLength: min, maxLength: max });
}

function codePoints(value: string): number {
  let count = 0;
  for (const _ of value) count += 1;
  return count;
}

/** A UUID of any version, converted to lower case. */
export function uuid() {
  return z.uuid('is not a UUID').overwrite((value) => value.toLowerCase());
}

/** An e-mail address, converted to lower case: two accounts must not differ in case only. */
export function email() {
  return z
    .string()
    .max(254, { error: 'is longer than 254 characters', abort: true })
    .pipe(z.email('is not an e-mail address').toLowerCase())
    .meta({ format: 'email', maxLength: 254 });
}

/** A timestamp in answers: a Date or ISO 8601 in UTC, always sent as the latter. */
export const timestamp = z.preprocess(
  (value) => (value instanceof Date ? value.toISOString() : value),
  z.iso.datetime(),
);

/** A whole number in a query, whose values are strings. Digits only: an empty string and `1e3` are rejected. */
export function wholeNumber({ min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }) {
  const digits = (value: unknown) => (/^\d{1,15}$/.test(`${value}`) ? Number(value) : Number.NaN);
  return z.preprocess(
    digits,
    z.int('is not a whole number').min(min, `is less than ${min}`).max(max, `is more than ${max}`),
  );
}
