import { z } from 'zod';
import { EVERYBODY, type System, topicOf } from '#eventing/cloud-event';
import { findLatest } from '#eventing/journal';
import { findPublished, POSITION, republish } from '#eventing/republish';
import { DomainError } from './errors.ts';
import { type Principal, type Route, route } from './route.ts';
import { uuid, wholeNumber } from './schema.ts';

const event = z.object({ eventId: z.uuid(), aggregateId: z.uuid(), sequence: z.number() });
const position = z.string().regex(POSITION, 'is no position');

/** What those who hear a system's topics may ask of it: to find out what they missed, and to get it. The same in every service. */
export function topicRoutes(system: System): Route[] {
  const topics = [topicOf(system, 'internal'), topicOf(system, 'external')] as const;
  const params = z.strictObject({ topic: z.enum(topics, `is none of ${topics.join(', ')}`) });
  /** What a system says to itself is no business of others. */
  const mustBeOpen = (principal: Principal, topic: string): void => {
    if (principal.kind === 'reader' && topic !== topics[1])
      throw new DomainError('forbidden', `Readers may ask about ${topics[1]} only`, 'forbidden');
  };
  return [
    route({
      method: 'GET',
      path: '/v1/topics/:topic/latest-event',
      summary: 'The event that was published last: a subscriber that does not get to know it is cut off',
      access: ['reader', 'operator'],
      params,
      responses: { 200: event },
      errors: { 404: ['nothing-published'] },
      handle: async ({ params, principal, em }) => {
        mustBeOpen(principal, params.topic);
        const latest = await findLatest(em, params.topic);
        if (!latest) throw new DomainError('nothing-published', 'Nothing has been published there', 'not-found');
        return { status: 200, body: latest };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/topics/:topic/published-events',
      summary:
        'What was published, in the order in which it came back: for a subscriber to compare with what it has got',
      description:
        'Goes on after a position; without one it answers no events, and the position of this moment. Ask with an age that no message takes to arrive.',
      access: ['reader', 'operator'],
      params,
      query: z.strictObject({
        after: position.optional(),
        before: uuid().optional().describe('a message: only what came back before it did'),
        ageMs: wholeNumber({ min: 0, max: 86_400_000 }).default(60_000).describe('only what came back so long ago'),
        limit: wholeNumber({ min: 1, max: 1_000 }).default(500),
      }),
      responses: {
        200: z.object({ events: z.array(event.extend({ type: z.string(), position })), next: position }),
      },
      handle: async ({ params, principal, query, em }) => {
        mustBeOpen(principal, params.topic);
        return { status: 200, body: await findPublished(em, params.topic, query) };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/topics/:topic/republish',
      summary: 'Publishes events again: for a reader to its own app alone, for an operator to one app or to all',
      description:
        'Only those that have been published there, and are not under way to that target. The name of a reader is its app-id.',
      access: ['reader', 'operator'],
      params,
      body: z.strictObject({
        eventIds: z.array(uuid()).min(1).max(100),
        target: z
          .string()
          .regex(/^[a-z][a-z0-9-]{0,62}$/, 'is not an app-id')
          .optional()
          .describe('an app-id; without one everybody'),
      }),
      responses: { 202: z.object({ events: z.number().describe('how many are published again') }) },
      handle: async ({ params: { topic }, body, principal, em }) => {
        mustBeOpen(principal, topic);
        const target = principal.kind === 'reader' ? principal.name : (body.target ?? EVERYBODY);
        if (body.target !== undefined && body.target !== target)
          throw new DomainError(
            'forbidden',
            `This reader is ${target}: it has events sent to itself only`,
            'forbidden',
          );
        return {
          status: 202,
          body: { events: await republish(em, { system, topic, eventIds: body.eventIds, target }) },
        };
      },
    }),
  ];
}
