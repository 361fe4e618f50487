import type { EntityManager } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { type System, sourceOf } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { type DeliveryKey, type Discarding, discard, lockDead, redrive, redriveAll } from '#eventing/dead-letters';
import { recordAction } from '#eventing/operator-actions';
import { findDeferred, findDeferredBody } from '#eventing/waiting';
import { endpoint, type Route, route } from '#http/route';
import { text, uuid } from '#http/schema';
import { DomainError } from '#process/errors';
import { assertExpected, bulk, deliveryFilter, isoTime, limit, moment } from './bulk.ts';

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

export interface DeadLetterRoutesOptions {
  readonly system: System;
  /** The ordered consumers of the system's database. */
  readonly consumers: readonly Pick<Consumer, 'name' | 'order'>[];
  readonly broadcaster: Pick<Consumer, 'name'>;
}

/** Declares the routes for operators to inspect deferred deliveries and to redrive or discard dead letters. */
export function deadLetterRoutes({ system, consumers, broadcaster }: DeadLetterRoutesOptions): Route[] {
  const discardOne = async (em: EntityManager, { consumer: name, eventId }: DeliveryKey): Promise<void> => {
    const { order = 'convergent' } = consumers.find((it) => it.name === name) ?? {};
    const consumer: Discarding = { name, order, isBroadcaster: name === broadcaster.name };
    const outcome = await discard(em, consumer, eventId, sourceOf(system));
    if (outcome === 'leaves a gap') throw leavesGap();
    if (outcome === 'not found') throw notFound();
  };
  return [
    route(
      'GET',
      '/v1/dead-letters',
      endpoint({
        summary: 'List dead letters, or the deferred deliveries of another state, oldest first',
        access: ['operator'],
        query: z.strictObject({
          ...deliveryFilter,
          state: deferredDelivery.shape.state.default('dead'),
          after: moment
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
        handle: async ({ params, em, principal }) => {
          await em.transactional(async (tx) => {
            const outcome = await redrive(tx, params.consumer, params.eventId);
            if (typeof outcome === 'object') throw unreadable(outcome.unreadable);
            if (outcome === 'not found') throw notFound();
            await recordAction(tx, { action: 'redrive', requestedBy: principal.kind, subject: params });
          });
          return { status: 204 };
        },
      }),
    ),
    route(
      'POST',
      '/v1/dead-letters/redrive',
      endpoint({
        summary: 'Redrive all dead letters that match; those whose body still cannot be read become dead letters again',
        access: ['operator'],
        body: bulk(deliveryFilter),
        responses: { 200: z.object({ deliveries: z.number() }) },
        errors: { 409: ['count-differs'] },
        handle: async ({ body: { filter, expected, reason }, em, principal }) => {
          await em.transactional(async (tx) => {
            const matching = await lockDead(tx, filter);
            assertExpected(matching, expected);
            await redriveAll(tx, matching);
            const subject = { filter, deliveries: expected };
            await recordAction(tx, { action: 'redrive', requestedBy: principal.kind, subject, reason });
          });
          return { status: 200, body: { deliveries: expected } };
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
        errors: { 404: ['delivery-not-found'], 409: ['leaves-gap'] },
        handle: async ({ params, em, principal }) => {
          await em.transactional(async (tx) => {
            await discardOne(tx, params);
            await recordAction(tx, { action: 'discard', requestedBy: principal.kind, subject: params });
          });
          return { status: 204 };
        },
      }),
    ),
    route(
      'POST',
      '/v1/dead-letters/discard',
      endpoint({
        summary: 'Discard all dead letters that match, permanently: all or, if one cannot be discarded, none',
        access: ['operator'],
        body: bulk(deliveryFilter),
        responses: { 200: z.object({ deliveries: z.number() }) },
        errors: { 409: ['count-differs', 'leaves-gap'] },
        handle: async ({ body: { filter, expected, reason }, em, principal }) => {
          await em.transactional(async (tx) => {
            const matching = await lockDead(tx, filter);
            assertExpected(matching, expected);
            for (const one of matching) await discardOne(tx, one);
            const subject = { filter, deliveries: expected };
            await recordAction(tx, { action: 'discard', requestedBy: principal.kind, subject, reason });
          });
          return { status: 200, body: { deliveries: expected } };
        },
      }),
    ),
  ];
}

const notFound = () => new DomainError('delivery-not-found', 'There is no such deferred delivery', 'not-found');

/** The answer to an action that would leave a gap in the external stream. */
export const leavesGap = () =>
  new DomainError(
    'leaves-gap',
    'Subscribers of the external topic would stop before this event: remove the cause, then redrive it',
    'conflict',
  );

function found<T>(row: T | undefined): T {
  if (!row) throw notFound();
  return row;
}

function unreadable(reason: string): DomainError {
  return new DomainError('delivery-unreadable', `The received body still cannot be read: ${reason}`, 'conflict');
}
