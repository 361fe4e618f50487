import { Writable } from 'node:stream';
import Router from '@koa/router';
import type { Middleware } from 'koa';
import { pino } from 'pino';
import { z } from 'zod';
import { provenance } from '#eventing/provenance';
import { type ApiOptions, createApi, endpoint, type Principal, route } from '#http/http';
import type { ListenOptions } from '#http/listen';
import type { Listener } from '#http/listeners';
import { email, text, timestamp, uuid } from '#http/schema';
import { DependencyUnavailable, DomainError } from '#process/errors';
import { Health } from '#process/health';
import { INVOKED, openAll, SIDECAR } from '../../support/listeners.ts';

const member: Principal = { kind: 'member', memberId: '0198d7a2-0000-7000-8000-000000000001', sessionNumber: '7' };
const principals: Record<string, Principal> = {
  m: member,
  o: { kind: 'operator' },
  r: { kind: 'reader', name: 'billing' },
};

const Pet = z.object({ id: z.uuid(), name: z.string(), at: timestamp }).meta({ id: 'Pet', description: 'A pet' });

/** What the `failures` route throws, by name. */
export const thrown: Record<string, unknown> = {
  conflict: new DomainError('name-taken', 'The name is taken', 'conflict'),
  outage: new DependencyUnavailable('shop-unavailable', 'The shop is closed'),
  bug: new TypeError('secret internals'),
  string: 'not even an error',
  nothing: undefined,
};

export const JSON_TYPE = { 'content-type': 'application/json' };
/** The path of the only pet. */
export const PET = '/v1/pets/0198d7a2-0000-7000-8000-000000000002';
/** Returns the credential of a member (`m`), an operator (`o`) or a reader (`r`). */
export const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

const params = z.strictObject({ id: uuid() });
const pet = { id: '0198d7a2-0000-7000-8000-000000000002', name: 'Rex', at: new Date(0), owner: 'not for the public' };

const routes = [
  route(
    'POST',
    '/v1/pets',
    endpoint({
      summary: 'Register a pet',
      access: ['anyone'],
      body: z.strictObject({
        name: text({ max: 20 }),
        email: email().optional(),
        home: z.strictObject({ city: text({ max: 10 }) }).optional(),
      }),
      responses: { 201: z.object({ name: z.string(), home: z.unknown().optional() }) },
      errors: { 409: ['name-taken'] },
      handle: async ({ body }) => ({ status: 201, body, headers: { Location: '/v1/pets/1' } }),
    }),
  ),
  route(
    'GET',
    '/v1/pets/:id',
    endpoint({
      summary: 'Read a pet',
      access: ['member', 'operator'],
      params,
      query: z.strictObject({ limit: z.coerce.number().int().max(10).default(5) }),
      responses: { 200: Pet },
      handle: async () => ({ status: 200, body: pet }),
    }),
  ),
  route(
    'DELETE',
    '/v1/pets/:id',
    endpoint({
      summary: 'Delete a pet',
      access: ['member'],
      params,
      responses: { 204: 'deleted' },
      handle: async () => ({ status: 204 }),
    }),
  ),
  route(
    'POST',
    '/v1/pets/:id/naps',
    endpoint({
      summary: 'Let a pet sleep',
      access: ['anyone', 'reader'],
      params,
      responses: {
        200: z.object({
          who: z.string(),
          requestedBy: z.string(),
          traceparent: z.string(),
          ip: z.string(),
          userAgent: z.string(),
        }),
      },
      handle: async ({ principal, ip, userAgent }) => ({
        status: 200,
        body: { who: principal.kind, ...provenance(), ip, userAgent },
      }),
    }),
  ),
  route(
    'POST',
    '/v1/pets/:id/wakings',
    endpoint({
      summary: 'Wake a pet later',
      access: ['anyone'],
      params,
      responses: { 202: 'accepted' },
      handle: async () => ({ status: 202 }),
    }),
  ),
  route(
    'GET',
    '/v1/failures/:name',
    endpoint({
      summary: 'Fail',
      access: ['anyone'],
      params: z.strictObject({ name: text({ max: 20 }) }),
      responses: { 200: 'never' },
      handle: async ({ params: { name } }) => {
        throw thrown[name];
      },
    }),
  ),
];

const PLACES: Record<string, Listener> = { 'bearer o': 'operations', 'bearer r': 'sidecar' };

/** Starts a small API without a database, on free ports. @param limits of the public listener (default: the services') */
export async function startApi(
  limits: Omit<ListenOptions, 'port' | 'host'> = {},
  options: Pick<ApiOptions, 'trustProxy' | 'deliveries'> = {},
) {
  const lines: Record<string, unknown>[] = [];
  const logStream = new Writable({
    write(line, _, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  const health = new Health({ database: async () => undefined });
  const delivered: string[] = [];
  const deliveries = new Router().post('/events/pets', (ctx) => {
    delivered.push(ctx.path);
    ctx.body = { status: 'SUCCESS' };
  });
  const app = createApi({
    title: 'Pets <&>',
    version: '1.0.0',
    description: 'An API for tests',
    routes,
    log: pino({ level: 'debug' }, logStream),
    orm: { em: { fork: () => ({}) } },
    authenticate: async (token) => principals[token],
    health,
    appToken: SIDECAR,
    deliveries: deliveries.routes() as Middleware,
    ...options,
  });
  const { servers, urls, ...opened } = await openAll(app, limits);
  /** @param at the listener (default: the one at which the credential counts) */
  const send = async (path: string, { at, ...init }: RequestInit & { at?: Listener } = {}) => {
    const sentHeaders = new Headers(init.headers);
    const listener = at ?? PLACES[(sentHeaders.get('authorization') ?? '').toLowerCase()] ?? 'public';
    const headers = { ...(listener === 'sidecar' && INVOKED), ...Object.fromEntries(sentHeaders) };
    const response = await fetch(`${urls[listener]}${path}`, { redirect: 'manual', ...init, headers });
    const text = await response.text();
    const body = text && response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
    return { status: response.status, body, headers: response.headers };
  };
  const { public: url } = urls;
  return {
    url,
    urls,
    port: Number(new URL(url).port),
    server: servers.public,
    send,
    health,
    lines,
    delivered,
    ...opened,
  };
}

export type TestApi = Awaited<ReturnType<typeof startApi>>;
