import { z } from 'zod';
import type { Canaries, Hop } from '#eventing/canary';
import { DomainError } from './errors.ts';
import { type Route, route } from './route.ts';
import { uuid } from './schema.ts';

const moment = z.iso.datetime();
const hop = z.object({ name: z.string(), at: moment.nullable(), trouble: z.string().nullable() });

/**
 * Canaries: facts about nobody that are sent to see how far they come.
 * @param canaries by the name of the system that sends them: this one, and those that it hears
 */
export function canaryRoutes(canaries: Readonly<Record<string, Canaries>>): Route[] {
  const names = Object.keys(canaries);
  const system = z.enum(names, `is none of ${names.join(', ')}`);
  return [
    route({
      method: 'POST',
      path: '/v1/canaries/:system',
      summary: 'Has a system send a canary: a fact about nobody, which goes the way of all others',
      access: ['reader', 'operator'],
      params: z.strictObject({ system }),
      responses: { 201: z.object({ id: z.uuid() }) },
      handle: async ({ em, params }) => ({ status: 201, body: { id: await canaries[params.system]!.send(em) } }),
    }),
    route({
      method: 'GET',
      path: '/v1/canaries/:system/:id',
      summary:
        'How far a canary has come: all its hops in order, and what is known of the first one that it has not come by',
      access: ['reader', 'operator'],
      params: z.strictObject({ system, id: uuid() }),
      responses: { 200: z.object({ hops: z.array(hop) }) },
      errors: { 404: ['canary-not-found'] },
      handle: async ({ em, params }) => {
        const hops = await canaries[params.system]!.follow(em, params.id);
        if (!hops) throw new DomainError('canary-not-found', 'No canary of this id was sent', 'not-found');
        return { status: 200, body: { hops: withOneTrouble(hops) } };
      },
    }),
  ];
}

/** What stops a canary stops it at one hop; those behind it have no trouble of their own yet. */
function withOneTrouble(hops: readonly Hop[]): Hop[] {
  const first = hops.findIndex(({ at }) => at === null);
  return hops.map((hop, index) => (index === first ? hop : { ...hop, trouble: null }));
}
