import { z } from 'zod';
import type { Consumer } from '#eventing/consumer';
import { findGaps, skipGap } from '#eventing/gaps';
import { findMissing } from '#eventing/missing-events';
import { recordAction } from '#eventing/operator-actions';
import { endpoint, type Route, route } from '#http/route';
import { text, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';
import { isoTime, limit } from './bulk.ts';
import { leavesGap } from './dead-letter-routes.ts';

const gap = z.object({
  consumer: z.string(),
  source: z.string(),
  aggregateId: z.string(),
  from: z.number(),
  to: z.number(),
  next: z.number(),
  since: isoTime,
});

const missingEvent = z.object({
  appId: z.string(),
  topic: z.string(),
  eventId: z.uuid(),
  type: z.string(),
  aggregateId: z.string(),
  sequence: z.number(),
  since: isoTime,
});

const name = text({ max: 200 });

/** Declares the routes for operators to list what has not arrived, and to close gaps in the streams of ordered consumers. */
export function gapRoutes({ broadcaster }: { readonly broadcaster: Pick<Consumer, 'name'> }): Route[] {
  return [
    route(
      'GET',
      '/v1/gaps',
      endpoint({
        summary: 'List events that ordered consumers wait for although later ones have arrived, longest waiting first',
        access: ['operator'],
        query: z.strictObject({
          ageSeconds: wholeNumber({ min: 0, max: 31_536_000 })
            .default(300)
            .describe('least age of a gap; the events of a younger one may be on their way'),
          limit,
        }),
        responses: { 200: z.object({ gaps: z.array(gap) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { gaps: await findGaps(em, query) } }),
      }),
    ),
    route(
      'GET',
      '/v1/missing-events',
      endpoint({
        summary: 'List published events that an app never received and no longer requests, oldest first',
        access: ['operator'],
        query: z.strictObject({ limit }),
        responses: { 200: z.object({ events: z.array(missingEvent) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { events: await findMissing(em, query) } }),
      }),
    ),
    route(
      'POST',
      '/v1/gaps/skip',
      endpoint({
        summary: 'Skip a gap for good: the consumer continues with `toSequence`',
        description:
          'First have the missing events published again. A skipped event has no effect, also if it arrives later.',
        access: ['operator'],
        body: z.strictObject({
          consumer: text({ max: 100 }),
          source: name,
          aggregateId: name,
          toSequence: z.int().min(2).describe('`next` of the gap: the event to continue with, which has arrived'),
          reason: text({ max: 500 }).describe('why, for the record: without personal data'),
        }),
        responses: { 204: 'The consumer continues with that event' },
        errors: { 404: ['gap-not-found'], 409: ['leaves-gap'] },
        handle: async ({ body: { toSequence, reason, ...subject }, em, principal }) => {
          // Its subscribers would wait for the skipped events.
          if (subject.consumer === broadcaster.name) throw leavesGap();
          await em.transactional(async (tx) => {
            if (!(await skipGap(tx, subject, toSequence)))
              throw new DomainError(
                'gap-not-found',
                'There is no gap before this event, or an earlier one has arrived',
                'not-found',
              );
            const all = { ...subject, toSequence };
            await recordAction(tx, { action: 'skip', requestedBy: principal.kind, subject: all, reason });
          });
          return { status: 204 };
        },
      }),
    ),
  ];
}
