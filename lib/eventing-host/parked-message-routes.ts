import { z } from 'zod';
import { recordAction } from '#eventing/operator-actions';
import { lockParked, releaseParked } from '#eventing/outbox';
import { findParked } from '#eventing/waiting';
import { endpoint, type Route, route } from '#http/route';
import { uuid, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';
import { assertExpected, bulk, isoTime, limit, messageFilter } from './bulk.ts';

const parkedMessage = z.object({
  id: z.uuid(),
  position: z.number(),
  eventId: z.uuid(),
  topic: z.string(),
  orderingKey: z.string(),
  attempts: z.number(),
  lastError: z.string().nullable(),
  parkedAt: isoTime,
});

/** Declares the routes for operators to inspect and release messages that could not be published. */
export function parkedMessageRoutes(): Route[] {
  return [
    route(
      'GET',
      '/v1/parked-messages',
      endpoint({
        summary: 'List parked messages, which could not be published and hold back their keys, oldest first',
        access: ['operator'],
        query: z.strictObject({
          ...messageFilter,
          after: wholeNumber({ min: 0 }).default(0).describe('`position` of the last message of the previous page'),
          limit,
        }),
        responses: { 200: z.object({ messages: z.array(parkedMessage) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { messages: await findParked(em, query) } }),
      }),
    ),
    route(
      'POST',
      '/v1/parked-messages/:id/release',
      endpoint({
        summary: 'Release a parked message and its key: the relay retries them',
        access: ['operator'],
        params: z.strictObject({ id: uuid() }),
        responses: { 204: 'The message will be retried' },
        errors: { 404: ['message-not-found'] },
        handle: async ({ params: { id }, em, principal }) => {
          await em.transactional(async (tx) => {
            if ((await releaseParked(tx, [id])) === 0)
              throw new DomainError('message-not-found', 'There is no such parked message', 'not-found');
            await recordAction(tx, { action: 'release', requestedBy: principal.kind, subject: { id } });
          });
          return { status: 204 };
        },
      }),
    ),
    route(
      'POST',
      '/v1/parked-messages/release',
      endpoint({
        summary: 'Release all parked messages that match',
        access: ['operator'],
        body: bulk(messageFilter),
        responses: { 200: z.object({ messages: z.number() }) },
        errors: { 409: ['count-differs'] },
        handle: async ({ body: { filter, expected, reason }, em, principal }) => {
          await em.transactional(async (tx) => {
            const ids = await lockParked(tx, filter);
            assertExpected(ids, expected);
            await releaseParked(tx, ids);
            const subject = { filter, messages: expected };
            await recordAction(tx, { action: 'release', requestedBy: principal.kind, subject, reason });
          });
          return { status: 200, body: { messages: expected } };
        },
      }),
    ),
  ];
}
