import { z } from 'zod';
import { MOST_AT_ONCE } from '#eventing/operator-actions';
import { text, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';

export const isoTime = z.iso.datetime();
/** Page size. */
export const limit = wholeNumber({ min: 1, max: 200 }).default(50);

// PostgreSQL has no year 0.
export const moment = isoTime.regex(/^[1-9]/);

/** Filters deferred deliveries and parked messages; all conditions that are given must hold. */
const common = {
  error: text({ max: 200 }).optional().describe('beginning of `lastError`'),
  from: moment.optional().describe('first time, included'),
  to: moment.optional().describe('last time, excluded'),
};
export const deliveryFilter = {
  consumer: text({ max: 100 }).optional(),
  eventType: text({ max: 200 }).optional(),
  ...common,
};
export const messageFilter = { topic: text({ max: 200 }).optional(), ...common };

/** The body of an action on everything that a filter matches. */
export const bulk = <F extends z.ZodRawShape>(filter: F) =>
  z.strictObject({
    filter: z.strictObject(filter),
    expected: z
      .int()
      .min(1)
      .max(MOST_AT_ONCE)
      .describe('how many must match: with any other number nothing is done, and the answer says how many do'),
    reason: text({ max: 500 }).describe('why, for the record: without personal data'),
  });

/** @throws DomainError when another number of them matches, so that nobody changes what they have not seen */
export function assertExpected(matching: readonly unknown[], expected: number): void {
  const { length } = matching;
  if (length === expected) return;
  const found = length > MOST_AT_ONCE ? `more than ${MOST_AT_ONCE} match: narrow the filter` : `${length} match`;
  throw new DomainError('count-differs', `Nothing was done: ${expected} expected, but ${found}`, 'conflict');
}
