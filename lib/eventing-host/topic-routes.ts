import { z } from 'zod';
import { ALL_TARGETS, type System, topicOf } from '#eventing/cloud-event';
import { findLatest } from '#eventing/event-trace';
import { findPublished, POSITION, republish } from '#eventing/republish';
import { endpoint, type Principal, type Route, route } from '#http/route';
import { uuid, wholeNumber } from '#http/schema';
import { DomainError } from '#process/errors';

const event = z.object({ eventId: z.uuid(), aggregateId: z.uuid(), sequence: z.number() });
const position = z.string().regex(POSITION, 'is not a position');

/**
 * Declares the routes for subscribers of a system's topics to find missing events and to request them, the same in
 * every service.
 */
export function topicRoutes(system: System): Route[] {
  const topics = [topicOf(system, 'internal'), topicOf(system, 'external')] as const;
  const params = z.strictObject({ topic: z.enum(topics, `is not one of ${topics.join(', ')}`) });
  /** Internal events are for the system's own workers and operators. */
  const requireAccess = (principal: Principal, topic: string): void => {
    if (principal.kind === 'reader' && topic !== topics[1])
      throw new DomainError('forbidden', `Readers have access to ${topics[1]} only`, 'forbidden');
  };
  return [
    route(
      'GET',
      '/v1/topics/:topic/latest-event',
      endpoint({
        summary: 'Get the event that was published last; a subscriber that never receives it has stalled',
        access: ['reader', 'operator'],
        params,
        responses: { 200: event },
        errors: { 404: ['nothing-published'] },
        handle: async ({ params, principal, em }) => {
          requireAccess(principal, params.topic);
          const latest = await findLatest(em, params.topic);
          if (!latest)
            throw new DomainError('nothing-published', 'No event has been published on this topic', 'not-found');
          return { status: 200, body: latest };
        },
      }),
    ),
    route(
      'GET',
      '/v1/topics/:topic/published-events',
      endpoint({
        summary: 'List published events in the order of confirmation, for a subscriber to find missing ones',
        description:
          'Returns the events after a position. Without a position it returns no events and the current position. Choose an `ageMs` longer than any delivery takes.',
        access: ['reader', 'operator'],
        params,
        query: z.strictObject({
          after: position.optional(),
          before: uuid().optional().describe('a message id: only events confirmed before this message'),
          ageMs: wholeNumber({ min: 0, max: 86_400_000 })
            .default(60_000)
            .describe('least time since the confirmation, in milliseconds'),
          limit: wholeNumber({ min: 1, max: 1_000 }).default(500),
        }),
        responses: {
          200: z.object({ events: z.array(event.extend({ type: z.string(), position })), next: position }),
        },
        handle: async ({ params, principal, query, em }) => {
          requireAccess(principal, params.topic);
          return { status: 200, body: await findPublished(em, params.topic, query) };
        },
      }),
    ),
    route(
      'POST',
      '/v1/topics/:topic/republish',
      endpoint({
        summary: 'Republish events: a reader to its own app only, an operator to one app or to all',
        description:
          'Skips events that were never published on the topic, and those with an unconfirmed message to that target. A reader’s name is its app-id.',
        access: ['reader', 'operator'],
        params,
        body: z.strictObject({
          eventIds: z.array(uuid()).min(1).max(100),
          target: z
            .string()
            .regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not an app-id')
            .optional()
            .describe('an app-id (default: all subscribers)'),
        }),
        responses: { 202: z.object({ events: z.number().describe('number of republished events') }) },
        handle: async ({ params: { topic }, body, principal, em }) => {
          requireAccess(principal, topic);
          const target = principal.kind === 'reader' ? principal.name : (body.target ?? ALL_TARGETS);
          if (body.target !== undefined && body.target !== target)
            throw new DomainError('forbidden', `The reader ${target} may republish to itself only`, 'forbidden');
          return {
            status: 202,
            body: { events: await republish(em, { system, topic, eventIds: body.eventIds, target }) },
          };
        },
      }),
    ),
  ];
}
