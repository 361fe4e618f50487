import { z } from 'zod';
import { findDiscrepancies } from '#eventing/discrepancies';
import { type EventTrace, findHeads, findTrace, findTraces } from '#eventing/event-trace';
import type { Keyring } from '#eventing/keyring';
import { findSubscribers } from '#eventing/subscriber-status';
import { endpoint, type Route, route } from '#http/route';
import { uuid, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';
import { isoTime, limit } from './bulk.ts';
import { type DeadLetterRoutesOptions, deadLetterRoutes, deferredDelivery } from './dead-letter-routes.ts';
import { gapRoutes } from './gap-routes.ts';
import { parkedMessageRoutes } from './parked-message-routes.ts';

const eventTrace = z.object({
  id: z.uuid(),
  type: z.string().optional(),
  aggregateType: z.string().optional(),
  aggregateId: z.uuid().optional(),
  sequence: z.number().optional(),
  committedAt: isoTime.optional(),
  program: z.string().optional(),
  requestedBy: z.string().optional(),
  traceparent: z.string().optional(),
  reason: z.string().optional(),
  attributes: z.array(z.string()).optional(),
  messages: z.array(
    z.object({
      id: z.uuid(),
      channel: z.string(),
      topic: z.string(),
      target: z.string(),
      createdAt: isoTime,
      sentAt: isoTime.nullable(),
      publishedAt: isoTime.nullable(),
      attempts: z.number(),
      lastError: z.string().nullable(),
    }),
  ),
  handledBy: z.array(z.object({ consumer: z.string(), at: isoTime })),
  deferred: z.array(deferredDelivery),
});

const subscriber = z.object({
  appId: z.string(),
  topics: z.array(
    z.object({
      topic: z.string(),
      lastReceivedAt: isoTime,
      stalledSince: isoTime.nullable(),
      pendingSince: isoTime.nullable(),
    }),
  ),
  sidecars: z.array(
    z.object({
      replica: z.string(),
      reportedAt: isoTime,
      runtimeVersion: z.string(),
      components: z.array(z.object({ name: z.string(), type: z.string() })),
      subscriptions: z.array(z.object({ component: z.string(), topic: z.string() })),
    }),
  ),
});

const discrepancies = z.object({
  unpublished: z.array(
    z.object({
      eventId: z.uuid(),
      type: z.string(),
      aggregateId: z.uuid(),
      sequence: z.number(),
      committedAt: isoTime,
    }),
  ),
  notStored: z.array(
    z.object({
      consumer: z.string(),
      eventId: z.uuid(),
      topic: z.string().nullable(),
      eventType: z.string().nullable(),
      receivedAt: isoTime,
    }),
  ),
  next: z.uuid().nullable(),
});

export interface OperatorRoutesOptions extends DeadLetterRoutesOptions {
  readonly keyring: Keyring;
}

/** Declares the routes for operators to trace events and to handle failed ones, the same in every service. */
export function operatorRoutes({ keyring, system, consumers, broadcaster }: OperatorRoutesOptions): Route[] {
  return [
    route(
      'GET',
      '/v1/events/:id',
      endpoint({
        summary: 'Get the trace of an event that this system recorded or received',
        access: ['operator'],
        params: z.strictObject({ id: uuid() }),
        responses: { 200: eventTrace },
        errors: { 404: ['event-not-found'] },
        handle: async ({ params, em }) => ({ status: 200, body: found(await findTrace(em, keyring, params.id)) }),
      }),
    ),
    route(
      'GET',
      '/v1/events',
      endpoint({
        summary: 'List the traces of an aggregate’s events, in sequence',
        access: ['operator'],
        query: z.strictObject({
          aggregateId: uuid(),
          after: wholeNumber({ min: 0 }).default(0).describe('`sequence` of the last event of the previous page'),
          limit,
        }),
        responses: { 200: z.object({ events: z.array(eventTrace) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { events: await findTraces(em, keyring, query) } }),
      }),
    ),
    route(
      'GET',
      '/v1/event-heads',
      endpoint({
        summary: 'List each aggregate’s last sequence, by aggregate id: where a new subscriber without history starts',
        access: ['reader', 'operator'],
        query: z.strictObject({
          after: uuid().optional().describe('`aggregateId` of the last head of the previous page'),
          limit: wholeNumber({ min: 1, max: 1_000 }).default(1_000),
        }),
        responses: { 200: z.object({ heads: z.array(z.object({ aggregateId: z.uuid(), sequence: z.number() })) }) },
        handle: async ({ query, em }) => ({ status: 200, body: { heads: await findHeads(em, query) } }),
      }),
    ),
    route(
      'GET',
      '/v1/subscribers',
      endpoint({
        summary: 'List subscribers, the liveness of their subscriptions, and the status of their sidecars',
        access: ['operator'],
        responses: { 200: z.object({ subscribers: z.array(subscriber) }) },
        handle: async ({ em }) => ({ status: 200, body: { subscribers: await findSubscribers(em) } }),
      }),
    ),
    route(
      'GET',
      '/v1/discrepancies',
      endpoint({
        summary: 'List stored events without an external message, and received messages whose event was never stored',
        access: ['operator'],
        query: z.strictObject({
          after: uuid().optional().describe('`next` of the previous page; it is null on the last page'),
          hours: wholeNumber({ min: 1, max: 24 })
            .default(12)
            .describe('how far back the comparison begins; published messages are retained for at least a day'),
          ageMs: wholeNumber({ min: 0, max: 86_400_000 })
            .default(300_000)
            .describe('least age of compared events, in milliseconds; younger ones may still be in progress'),
        }),
        responses: { 200: discrepancies },
        handle: async ({ query, em }) => ({ status: 200, body: await findDiscrepancies(em, broadcaster.name, query) }),
      }),
    ),
    ...deadLetterRoutes({ system, consumers, broadcaster }),
    ...parkedMessageRoutes(),
    ...gapRoutes({ broadcaster }),
  ];
}

function found(trace: EventTrace | undefined): EventTrace {
  if (!trace)
    throw new DomainError('event-not-found', 'This system neither recorded nor received this event', 'not-found');
  return trace;
}
