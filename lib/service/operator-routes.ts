import { z } from 'zod';
import type { Consumer } from '#eventing/inbox';
import {
  findHeads,
  findJourney,
  findJourneys,
  findKept,
  findKeptBody,
  findParked,
  type Journey,
} from '#eventing/journal';
import { discard, redrive } from '#eventing/kept-deliveries';
import type { Keyring } from '#eventing/keyring';
import { releaseParked } from '#eventing/outbox';
import { findSubscribers } from '#eventing/subscribers';
import { DomainError } from './errors.ts';
import { type Route, route } from './route.ts';
import { wholeNumber } from './schema.ts';

const moment = z.iso.datetime();

const keptDelivery = z.object({
  consumer: z.string(),
  eventId: z.uuid(),
  eventType: z.string().nullable(),
  aggregateId: z.string().nullable(),
  sequence: z.number().nullable(),
  state: z.enum(['early', 'failing', 'dead', 'discarded']),
  attempts: z.number(),
  nextAttemptAt: moment.nullable(),
  lastError: z.string().nullable(),
  receivedAt: moment,
});

const journey = z.object({
  id: z.uuid(),
  type: z.string().optional(),
  aggregateType: z.string().optional(),
  aggregateId: z.uuid().optional(),
  sequence: z.number().optional(),
  committedAt: moment.optional(),
  channel: z.string().optional(),
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
      createdAt: moment,
      relayedAt: moment.nullable(),
      publishedAt: moment.nullable(),
      attempts: z.number(),
      lastError: z.string().nullable(),
    }),
  ),
  handledBy: z.array(z.object({ consumer: z.string(), at: moment })),
  kept: z.array(keptDelivery),
});

const parkedMessage = z.object({
  id: z.uuid(),
  position: z.number(),
  eventId: z.uuid(),
  topic: z.string(),
  orderingKey: z.string(),
  attempts: z.number(),
  lastError: z.string().nullable(),
  parkedAt: moment,
});

const subscriber = z.object({
  appId: z.string(),
  topics: z.array(
    z.object({ topic: z.string(), heardAt: moment, missedSince: moment.nullable(), unheardSince: moment.nullable() }),
  ),
  sidecars: z.array(
    z.object({
      replica: z.string(),
      reportedAt: moment,
      runtimeVersion: z.string(),
      components: z.array(z.object({ name: z.string(), type: z.string() })),
      subscriptions: z.array(z.object({ component: z.string(), topic: z.string() })),
    }),
  ),
});

const delivery = z.strictObject({ consumer: z.string().max(100), eventId: z.uuid() });
const limit = wholeNumber({ min: 1, max: 200 }).default(50);

/**
 * What operators see of events and do about those that failed, the same in every service.
 * @param consumers those of the system's database, to know which are ordered
 */
export function operatorRoutes(keyring: Keyring, consumers: readonly Pick<Consumer, 'name' | 'order'>[]): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/events/:id',
      summary: 'The journey of one event, of this system or heard by it',
      access: ['operator'],
      params: z.strictObject({ id: z.uuid() }),
      responses: { 200: journey },
      errors: { 404: ['event-not-found'] },
      handle: async ({ params, em }) => ({ status: 200, body: known(await findJourney(em, keyring, params.id)) }),
    }),
    route({
      method: 'GET',
      path: '/v1/events',
      summary: 'The journeys of an aggregate’s events, in sequence',
      access: ['operator'],
      query: z.strictObject({
        aggregateId: z.uuid(),
        after: wholeNumber({ min: 0 }).default(0).describe('`sequence` of the last one of the page before'),
        limit,
      }),
      responses: { 200: z.object({ events: z.array(journey) }) },
      handle: async ({ query, em }) => ({ status: 200, body: { events: await findJourneys(em, keyring, query) } }),
    }),
    route({
      method: 'GET',
      path: '/v1/event-heads',
      summary:
        'How far each aggregate’s events go, by aggregate id: where a new subscriber that wants no history starts',
      access: ['reader', 'operator'],
      query: z.strictObject({
        after: z.uuid().optional().describe('`aggregateId` of the last one of the page before'),
        limit: wholeNumber({ min: 1, max: 1_000 }).default(1_000),
      }),
      responses: { 200: z.object({ heads: z.array(z.object({ aggregateId: z.uuid(), sequence: z.number() })) }) },
      handle: async ({ query, em }) => ({ status: 200, body: { heads: await findHeads(em, query) } }),
    }),
    route({
      method: 'GET',
      path: '/v1/subscribers',
      summary:
        'Who hears what: each app’s topics, when it heard them last and whether it misses something, and what its sidecars have loaded',
      access: ['operator'],
      responses: { 200: z.object({ subscribers: z.array(subscriber) }) },
      handle: async ({ em }) => ({ status: 200, body: { subscribers: await findSubscribers(em) } }),
    }),
    route({
      method: 'GET',
      path: '/v1/dead-letters',
      summary: 'Deliveries that consumers gave up, oldest first; by state also others that are kept',
      access: ['operator'],
      query: z.strictObject({
        state: keptDelivery.shape.state.default('dead'),
        // PostgreSQL knows no year 0.
        after: moment
          .regex(/^[1-9]/)
          .optional()
          .describe('`receivedAt` of the last one of the page before; a page ends with all of one millisecond'),
        limit,
      }),
      responses: { 200: z.object({ deliveries: z.array(keptDelivery) }) },
      handle: async ({ query, em }) => ({ status: 200, body: { deliveries: await findKept(em, query) } }),
    }),
    route({
      method: 'GET',
      path: '/v1/dead-letters/:consumer/:eventId',
      summary: 'What was received: the event, its values encrypted, or the body that could not be read',
      access: ['operator'],
      params: delivery,
      responses: { 200: z.object({ event: z.unknown(), raw: z.string().nullable() }) },
      errors: { 404: ['delivery-not-found'] },
      handle: async ({ params, em }) => ({
        status: 200,
        body: found(await findKeptBody(em, params.consumer, params.eventId)),
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/dead-letters/:consumer/:eventId/redrive',
      summary: 'Lets the consumer try it again, at once',
      access: ['operator'],
      params: delivery,
      responses: { 204: 'It is tried again' },
      errors: { 404: ['delivery-not-found'] },
      handle: async ({ params, em }) => done(await redrive(em, params.consumer, params.eventId)),
    }),
    route({
      method: 'POST',
      path: '/v1/dead-letters/:consumer/:eventId/discard',
      summary: 'Gives it up for good; an ordered consumer moves on to the aggregate’s next event',
      access: ['operator'],
      params: delivery,
      responses: { 204: 'It is given up' },
      errors: { 404: ['delivery-not-found'] },
      handle: async ({ params, em }) => {
        const consumer = consumers.find(({ name }) => name === params.consumer);
        return done(await discard(em, consumer ?? { name: params.consumer, order: 'convergent' }, params.eventId));
      },
    }),
    route({
      method: 'GET',
      path: '/v1/parked-messages',
      summary: 'Messages that could not be published and are held back, with their keys; oldest first',
      access: ['operator'],
      query: z.strictObject({
        after: wholeNumber({ min: 0 }).default(0).describe('`position` of the last one of the page before'),
        limit,
      }),
      responses: { 200: z.object({ messages: z.array(parkedMessage) }) },
      handle: async ({ query, em }) => ({ status: 200, body: { messages: await findParked(em, query) } }),
    }),
    route({
      method: 'POST',
      path: '/v1/parked-messages/:id/release',
      summary: 'Lets the relay try it again, and its key with it',
      access: ['operator'],
      params: z.strictObject({ id: z.uuid() }),
      responses: { 204: 'It is tried again' },
      errors: { 404: ['message-not-found'] },
      handle: async ({ params, em }) => {
        if (await releaseParked(em, params.id)) return { status: 204 };
        throw new DomainError('message-not-found', 'No such message is parked', 'not-found');
      },
    }),
  ];
}

function known(event: Journey | undefined): Journey {
  if (!event) throw new DomainError('event-not-found', 'No event of this id was stated or heard here', 'not-found');
  return event;
}

function found<T>(kept: T | undefined): T {
  if (!kept) throw new DomainError('delivery-not-found', 'No such delivery is kept', 'not-found');
  return kept;
}

function done(changed: boolean): { status: number } {
  found(changed || undefined);
  return { status: 204 };
}
