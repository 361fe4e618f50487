import { z } from 'zod';
import { type System, sourceOf } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { discard, redrive } from '#eventing/dead-letters';
import { findDeferred, findDeferredBody } from '#eventing/event-trace';
import { endpoint, type Route, route } from '#http/route';
import { text, uuid, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';

const isoTime = z.iso.datetime();

/** A deferred delivery, as shown to operators. */
export const deferredDelivery = z.object({
  consumer: z.string(),
  eventId: z.uuid(),
  eventType: z.string().nullable(),
  aggregateId: z.string().nullable(),
  sequence: z.number().nullable(),
  state: z.enum(['early', 'failing', 'dead', 'discarded']),
  attempts: z.number(),
  nextAttemptAt: isoTime.nullable(),
  lastError: z.string().nullable(),
  receivedAt: isoTime,
});

const delivery = z.strictObject({ consumer: text({ max: 100 }), eventId: uuid() });
/** Page size. */
export const limit = wholeNumber({ min: 1, max: 200 }).default(50);

export interface DeadLetterRoutesOptions {
  readonly system: System;
  /** The ordered consumers of the system's database. */
  readonly consumers: readonly Pick<Consumer, 'name' | 'order'>[];
}

/** Declares the routes for operators to inspect deferred deliveries and to redrive or discard dead letters. */
export function deadLetterRoutes({ system, consumers }: DeadLetterRoutesOptions): Route[] {
  return [
    route(
      'GET',
      '/v1/dead-letters',
      endpoint({
        summary: 'List dead letters, or the deferred deliveries of another state, oldest first',
        access: ['operator'],
        query: z.strictObject({
          state: deferredDelivery.shape.state.default('dead'),
          // PostgreSQL has no year 0.
          after: isoTime
            .regex(/^[1-9]/)
            .optional()
            .describe(
              '`receivedAt` of the last delivery of the previous page; a page includes all deliveries of its last millisecond',
            ),
          limit,
        }),
        responses: { 200: z.object({ deliveries: z.array(deferredDelivery) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { deliveries: await findDeferred(em, query) } }),
      }),
    ),
    route(
      'GET',
      '/v1/dead-letters/:consumer/:eventId',
      endpoint({
        summary: 'Get the received event with encrypted values, or the body that could not be read',
        access: ['operator'],
        params: delivery,
        responses: { 200: z.object({ event: z.unknown(), raw: z.string().nullable() }) },
        errors: { 404: ['delivery-not-found'] },
        handle: async ({ params, em }) => ({
          status: 200,
          body: found(await findDeferredBody(em, params.consumer, params.eventId)),
        }),
      }),
    ),
    route(
      'POST',
      '/v1/dead-letters/:consumer/:eventId/redrive',
      endpoint({
        summary: 'Redrive a delivery: the consumer retries it immediately',
        access: ['operator'],
        params: delivery,
        responses: { 204: 'The delivery will be retried' },
        errors: { 404: ['delivery-not-found'], 409: ['delivery-unreadable'] },
        handle: async ({ params, em }) => {
          const outcome = await redrive(em, params.consumer, params.eventId);
          if (typeof outcome === 'object') throw unreadable(outcome.unreadable);
          return done(outcome === 'redriven');
        },
      }),
    ),
    route(
      'POST',
      '/v1/dead-letters/:consumer/:eventId/discard',
      endpoint({
        summary: 'Discard a delivery permanently; an ordered consumer continues with the aggregate’s next event',
        access: ['operator'],
        params: delivery,
        responses: { 204: 'The delivery is discarded' },
        errors: { 404: ['delivery-not-found'] },
        handle: async ({ params, em }) => {
          const consumer = consumers.find(({ name }) => name === params.consumer);
          return done(
            await discard(
              em,
              consumer ?? { name: params.consumer, order: 'convergent' },
              params.eventId,
              sourceOf(system),
            ),
          );
        },
      }),
    ),
  ];
}

function found<T>(row: T | undefined): T {
  if (!row) throw new DomainError('delivery-not-found', 'There is no such deferred delivery', 'not-found');
  return row;
}

function unreadable(reason: string): DomainError {
  return new DomainError('delivery-unreadable', `The received body still cannot be read: ${reason}`, 'conflict');
}

function done(changed: boolean): { status: number } {
  found(changed || undefined);
  return { status: 204 };
}
