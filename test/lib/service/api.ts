import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { z } from 'zod';
import { provenance } from '#eventing/provenance';
import { DependencyUnavailable, DomainError } from '#service/errors';
import { Health } from '#service/health';
import { createApi, type Principal, route } from '#service/http';
import { type ListenOptions, listen } from '#service/run';
import { email, text, timestamp, uuid } from '#service/schema';

const member: Principal = { kind: 'member', memberId: '0198d7a2-0000-7000-8000-000000000001', sessionNumber: '7' };
const principals: Record<string, Principal> = {
  m: member,
  o: { kind: 'operator' },
  r: { kind: 'reader', name: 'billing' },
};

const Pet = z.object({ id: z.uuid(), name: z.string(), at: timestamp }).meta({ id: 'Pet', description: 'A pet' });

/** What the route of `failures` throws. */
export const thrown: Record<string, unknown> = {
  conflict: new DomainError('name-taken', 'The name is taken', 'conflict'),
  outage: new DependencyUnavailable('shop-unavailable', 'The shop is closed'),
  bug: new TypeError('secret internals'),
  string: 'not even an error',
  nothing: undefined,
};

export const JSON_TYPE = { 'content-type': 'application/json' };
/** The path of the one pet there is. */
export const PET = '/v1/pets/0198d7a2-0000-7000-8000-000000000002';
/** The credential of `m`, a member, `o`, an operator, or `r`, a reader. */
export const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

const params = z.strictObject({ id: uuid() });
const pet = { id: '0198d7a2-0000-7000-8000-000000000002', name: 'Rex', at: new Date(0), owner: 'not for the public' };

const routes = [
  route({
    method: 'POST',
    path: '/v1/pets',
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
  route({
    method: 'GET',
    path: '/v1/pets/:id',
    summary: 'Read a pet',
    access: ['member', 'operator'],
    params,
    query: z.strictObject({ limit: z.coerce.number().int().max(10).default(5) }),
    responses: { 200: Pet },
    handle: async () => ({ status: 200, body: pet }),
  }),
  route({
    method: 'DELETE',
    path: '/v1/pets/:id',
    summary: 'Forget a pet',
    access: ['member'],
    params,
    responses: { 204: 'forgotten' },
    handle: async () => ({ status: 204 }),
  }),
  route({
    method: 'POST',
    path: '/v1/pets/:id/naps',
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
  route({
    method: 'POST',
    path: '/v1/pets/:id/wakings',
    summary: 'Wake a pet in a while',
    access: ['anyone'],
    params,
    responses: { 202: 'it will be woken' },
    handle: async () => ({ status: 202 }),
  }),
  route({
    method: 'GET',
    path: '/v1/failures/:name',
    summary: 'Fail',
    access: ['anyone'],
    params: z.strictObject({ name: z.string() }),
    responses: { 200: 'never' },
    handle: async ({ params: { name } }) => {
      throw thrown[name];
    },
  }),
];

/** A small API on a free port, which needs no database; what it logs is kept. Its limits are those of every service unless told. */
export async function startApi(limits: Omit<ListenOptions, 'port' | 'host'> = {}) {
  const lines: Record<string, unknown>[] = [];
  const sink = new Writable({
    write(line, _, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  const health = new Health({ database: async () => undefined });
  const app = createApi({
    title: 'Pets <&>',
    version: '1.0.0',
    description: 'An API for tests',
    routes,
    log: pino({ level: 'debug' }, sink),
    orm: { em: { fork: () => ({}) } },
    authenticate: async (token) => principals[token],
    health,
  });
  const server = await listen(app, { port: 0, host: '127.0.0.1', ...limits });
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const send = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${url}${path}`, { redirect: 'manual', ...init });
    const text = await response.text();
    const body = text && response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
    return { status: response.status, body, headers: response.headers };
  };
  return { url, port, server, send, health, lines, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

export type TestApi = Awaited<ReturnType<typeof startApi>>;
