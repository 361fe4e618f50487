import { isIP } from 'node:net';
import Router from '@koa/router';
import type { EntityManager } from '@mikro-orm/postgresql';
import Koa, { type Context, type Middleware } from 'koa';
import { z } from 'zod';
import { withProvenance } from '#eventing/provenance';
import { type Authenticate, authorize, requesterOf } from './authentication.ts';
import { readJson } from './body.ts';
import { addDocsPage } from './docs-page.ts';
import { DependencyUnavailable, DomainError } from './errors.ts';
import { addEventsPage } from './events-page.ts';
import { addProbes, type Health } from './health.ts';
import { IDEMPOTENCY_KEY, type Idempotency, type SentAnswer } from './idempotency.ts';
import type { Log } from './log.ts';
import { describeApi } from './openapi.ts';
import { type RequestState, requestLog } from './request-log.ts';
import type { Answer, Call, Route } from './route.ts';
import { validate } from './validate.ts';

export { type Access, type Answer, type Call, type Principal, type Route, route } from './route.ts';

export interface ApiOptions {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly routes: readonly Route[];
  readonly log: Log;
  /** Every request works on a fork of its own. */
  readonly orm: { readonly em: { fork(): unknown } };
  readonly authenticate: Authenticate;
  readonly health: Health;
  /** What the system says to others, as an AsyncAPI document. */
  readonly events?: object;
  /** For routes that take an `Idempotency-Key`. */
  readonly idempotency?: Idempotency;
  /** Comes before the routes: the event subscriptions. */
  readonly before?: Middleware;
  /** Whether the caller's address is the last one in X-Forwarded-For: only behind a proxy that sets it. */
  readonly trustProxy?: boolean;
}

/** The HTTP side of a service: its routes, checked and documented by their declarations, and what every service has. */
export function createApi({ log, before, trustProxy = false, ...options }: ApiOptions): Koa {
  const app = new Koa({ proxy: trustProxy, maxIpsCount: 1 });
  // What reaches Koa's own handler is a broken connection: every other error has been answered already.
  app.on('error', (error) => log.debug({ err: error }, 'connection error'));
  app.use(requestLog(log));
  app.use(securityHeaders);
  app.use(partWhenLeaving(options.health));
  if (before) app.use(before);
  const router = createRouter(options);
  app.use(router.routes());
  app.use(refuse(router));
  return app;
}

function createRouter(options: Omit<ApiOptions, 'log' | 'before' | 'trustProxy'>): Router {
  // One spelling for each URL.
  const router = new Router({ sensitive: true, strict: true });
  for (const route of options.routes) router.register(route.path, [route.method], serve(route, options));
  const document = describeApi(options);
  router.get('/openapi.json', (ctx) => {
    ctx.body = document;
  });
  addDocsPage(router, options.title);
  if (options.events) addEventsPage(router, options.events);
  addProbes(router, options.health);
  return router;
}

/** Identity before validity: somebody unknown learns nothing about what a route takes. */
function serve(
  route: Route,
  { orm, authenticate, idempotency }: Pick<ApiOptions, 'orm' | 'authenticate' | 'idempotency'>,
): Middleware<RequestState> {
  if (route.idempotent && !idempotency) throw new Error(`${route.path} takes keys, and nothing remembers them`);
  return async (ctx) => {
    const em = orm.em.fork() as EntityManager;
    const principal = await authorize(ctx, em, route.access, authenticate);
    const call = { ...(await readRequest(ctx, route)), principal, ...caller(ctx) };
    const work = async (tx: EntityManager) => render(route, await route.handle({ ...call, em: tx }));
    const key = route.idempotent ? idempotencyKey(ctx) : undefined;
    const requester = requesterOf(principal);
    await withProvenance({ requestedBy: requester, traceparent: ctx.state.traceparent }, async () => {
      if (key === undefined) return send(ctx, await work(em));
      const request = JSON.stringify([ctx.method, ctx.path, call.body]);
      const { answer, replayed } = await idempotency!.once(em, { key, requester, request }, work);
      if (replayed) ctx.set('Idempotency-Replayed', 'true');
      send(ctx, answer);
    });
  };
}

function idempotencyKey(ctx: Context): string | undefined {
  const header = ctx.headers['idempotency-key'];
  if (header === undefined) return undefined;
  const [, quoted, bare] = IDEMPOTENCY_KEY.exec(`${header}`) ?? [];
  const key = quoted ?? bare;
  if (key !== undefined) return key;
  throw new DomainError('invalid-idempotency-key', 'An Idempotency-Key has 16 to 255 visible characters', 'invalid');
}

const NOTHING = z.strictObject({});

async function readRequest(ctx: Context, { params = NOTHING, query = NOTHING, body = NOTHING.optional() }: Route) {
  return {
    params: validate(params, { ...ctx.params }, 'path'),
    query: validate(query, { ...ctx.query }, 'query'),
    body: validate(body, await readJson(ctx), 'body'),
  };
}

function caller({ headers, ip, req }: Context): Pick<Call, 'headers' | 'ip' | 'userAgent'> {
  // A forwarded address is text that somebody wrote.
  const address = (isIP(ip) ? ip : (req.socket.remoteAddress ?? '')).replace(/^::ffff:/, '');
  const userAgent = (headers['user-agent'] ?? '').replace(/\p{Cc}/gu, ' ').slice(0, 500);
  return { headers, ip: address, userAgent };
}

/** Only what the route declares leaves: fields that its schema does not name are dropped. */
function render({ method, path, responses }: Route, { status, body, headers = {} }: Answer): SentAnswer {
  const declared = responses[status];
  if (declared === undefined)
    throw new Error(`${method} ${path} does not declare the status ${status} that it answered with`);
  return { status, headers, text: typeof declared === 'string' ? null : JSON.stringify(declared.parse(body)) };
}

function send(ctx: Context, { status, headers, text }: SentAnswer): void {
  ctx.set(headers);
  ctx.body = text;
  if (text !== null) ctx.type = 'json';
  // Last, since Koa makes every answer without a body a 204.
  ctx.status = status;
}

/** What no route has answered. */
function refuse(router: Router): Middleware {
  return (ctx) => {
    const allowed = new Set(router.match(ctx.path, ctx.method).path.flatMap(({ methods }) => methods));
    if (allowed.size > 0) return refuseMethod(ctx, [...allowed, 'OPTIONS']);
    // To daprd a 404 means "drop this event". A subscription that is not served (yet) must not lose any.
    if (ctx.is('application/cloudevents+json', 'application/cloudevents-batch+json') || ctx.get('ce-id'))
      throw new DependencyUnavailable('no-such-subscription', 'Nobody here takes events at this path');
    throw new DomainError('no-such-route', 'There is nothing at this path', 'not-found');
  };
}

function refuseMethod(ctx: Context, allowed: string[]): void {
  ctx.set('Allow', allowed.join(', '));
  if (ctx.method !== 'OPTIONS')
    throw new DomainError('method-not-allowed', `This path takes ${allowed.join(', ')}`, 'method-not-allowed');
  ctx.status = 204;
}

/** Callers that keep a connection go elsewhere with their next request. */
function partWhenLeaving(health: Health): Middleware {
  return async (ctx, next) => {
    await next();
    if (health.isLeaving) ctx.set('Connection', 'close');
  };
}

const securityHeaders: Middleware = async (ctx, next) => {
  ctx.set({
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
  });
  await next();
};
