import { z } from 'zod';
import type { Canaries, Hop } from '#eventing/canary';
import { endpoint, type Route, route } from '#http/route';
import { uuid } from '#http/schema';
import { DomainError } from '#process/errors';

const isoTime = z.iso.datetime();
const hop = z.object({ name: z.string(), at: isoTime.nullable(), problem: z.string().nullable() });

/**
 * Declares the routes for canaries: synthetic events that check every hop.
 * @param canaries by the name of the sending system: this one, and those whose topics it subscribes to
 */
export function canaryRoutes(canaries: Readonly<Record<string, Canaries>>): Route[] {
  const names = Object.keys(canaries);
  const system = z.enum(names, `is not one of ${names.join(', ')}`);
  return [
    route(
      'POST',
      '/v1/canaries/:system',
      endpoint({
        summary: 'Send a canary: a synthetic event that takes the same path as all others',
        access: ['reader', 'operator'],
        params: z.strictObject({ system }),
        responses: { 201: z.object({ id: z.uuid() }) },
        handle: async ({ em, params }) => ({ status: 201, body: { id: await canaries[params.system]!.send(em) } }),
      }),
    ),
    route(
      'GET',
      '/v1/canaries/:system/:id',
      endpoint({
        summary: 'Get the hops of a canary in order, with what is known about the first one it has not reached',
        access: ['reader', 'operator'],
        params: z.strictObject({ system, id: uuid() }),
        responses: { 200: z.object({ hops: z.array(hop) }) },
        errors: { 404: ['canary-not-found'] },
        handle: async ({ em, params }) => {
          const hops = await canaries[params.system]!.follow(em, params.id);
          if (!hops) throw new DomainError('canary-not-found', 'No canary has this id', 'not-found');
          return { status: 200, body: { hops: withFirstTrouble(hops) } };
        },
      }),
    ),
  ];
}

/** Keeps the problem of the first hop that the canary has not reached: the later hops only wait for it. */
function withFirstTrouble(hops: readonly Hop[]): Hop[] {
  const first = hops.findIndex(({ at }) => at === null);
  return hops.map((hop, index) => (index === first ? hop : { ...hop, problem: null }));
}
