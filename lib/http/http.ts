import type { IncomingMessage } from 'node:http';
import Router from '@koa/router';
import type { EntityManager } from '@mikro-orm/postgresql';
import Koa, { type Context, type Middleware } from 'koa';
import { z } from 'zod';
import { withProvenance } from '#eventing/provenance';
import { DomainError } from '#process/errors';
import { addProbes, type Health, healthCheck } from '#process/health';
import type { Log } from '#process/log';
import { type Authenticate, authorize, requesterOf } from './authentication.ts';
import { contentCoding, readJson } from './body.ts';
import { callerAddress } from './caller-address.ts';
import { addDocsPage } from './docs-page.ts';
import { addEventsPage } from './events-page.ts';
import { IDEMPOTENCY_KEY, type Idempotency, type SentAnswer } from './idempotency.ts';
import { authenticateAt, type Listener, routesAt } from './listeners.ts';
import { closeConnectionWhenShuttingDown, refuseUnknownRoutes, securityHeaders } from './middleware.ts';
import { describeApi } from './openapi.ts';
import { type RequestState, requestLog } from './request-log.ts';
import type { Answer, Call, Route } from './route.ts';
import { requireSidecarToken } from './sidecar-token.ts';
import { validate } from './validate.ts';

export { type Access, type Answer, type Call, endpoint, type Principal, type Route, route } from './route.ts';

export interface ApiOptions {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly routes: readonly Route[];
  readonly log: Log;
  /** Each request gets its own fork. */
  readonly orm: { readonly em: { fork(): unknown } };
  readonly authenticate: Authenticate;
  readonly health: Health;
  /** The token that the sidecar must send as `dapr-api-token`. */
  readonly appToken: string;
  /** The AsyncAPI document of the external events. */
  readonly events?: object;
  /** Required by routes that accept an `Idempotency-Key`. */
  readonly idempotency?: Idempotency;
  /** Handles event deliveries, on the sidecar's listener. */
  readonly deliveries?: Middleware;
  /** Whether the public listener takes the caller's address from X-Forwarded-For: only behind a proxy that sets it. */
  readonly trustProxy?: boolean;
}

export type Api = Readonly<Record<Listener, Koa>>;

/**
 * Creates one Koa app per listener from the declared routes, with probes, API documentation and the common middleware.
 */
export function createApi({ log, health, appToken, deliveries, trustProxy = false, ...options }: ApiOptions): Api {
  const app = (router: Router, before: Middleware[] = []): Koa => {
    const koa = new Koa();
    // Only broken connections get here: requestLog turns all other errors into responses.
    koa.on('error', (error) => log.debug({ err: error }, 'connection error'));
    const first = [requestLog(log), securityHeaders, closeConnectionWhenShuttingDown(health), contentCoding];
    for (const middleware of [...first, ...before, router.routes(), refuseUnknownRoutes(router)]) koa.use(middleware);
    return koa;
  };
  const routerAt = (listener: Listener): Router =>
    createRouter(listener, { ...options, addressOf: callerAddress(trustProxy && listener === 'public', log) });
  const sidecar = [healthCheck(health), requireSidecarToken(appToken), ...(deliveries ? [deliveries] : [])];
  const operations = routerAt('operations');
  addProbes(operations, health);
  return { public: app(routerAt('public')), sidecar: app(routerAt('sidecar'), sidecar), operations: app(operations) };
}

interface RouterOptions extends Omit<ApiOptions, 'log' | 'health' | 'appToken' | 'deliveries' | 'trustProxy'> {
  readonly addressOf: (request: IncomingMessage) => string;
}

/** Creates the router of one listener, with API documentation except on the sidecar's, which people cannot open. */
function createRouter(listener: Listener, { title, events, ...options }: RouterOptions): Router {
  // Each URL has exactly one spelling.
  const router = new Router({ sensitive: true, strict: true });
  const routes = routesAt(listener, options.routes);
  const authenticate = authenticateAt(listener, options.authenticate);
  for (const route of routes) router.register(route.path, [route.method], serve(route, { ...options, authenticate }));
  if (listener === 'sidecar' || routes.length === 0) return router;
  const ownTitle = listener === 'public' ? title : `${title}, operations`;
  const document = describeApi({ ...options, title: ownTitle, routes });
  router.get('/openapi.json', (ctx) => {
    ctx.body = document;
  });
  addDocsPage(router, ownTitle);
  if (events) addEventsPage(router, events);
  return router;
}

/**
 * Creates the middleware of a route. It authorizes before it validates: unknown callers learn nothing about the request
 * format.
 */
function serve(
  route: Route,
  {
    orm,
    authenticate,
    idempotency,
    addressOf,
  }: Pick<RouterOptions, 'orm' | 'authenticate' | 'idempotency' | 'addressOf'>,
): Middleware<RequestState> {
  if (route.idempotent && !idempotency)
    throw new Error(`${route.path} accepts an Idempotency-Key: pass \`idempotency\` to createApi`);
  return async (ctx) => {
    const em = orm.em.fork() as EntityManager;
    const ip = addressOf(ctx.req);
    const principal = await authorize(ctx, route.access, (token) => authenticate(token, em, ip));
    const call = { ...(await readRequest(ctx, route)), principal, ip, ...client(ctx) };
    const callerId = principal.kind === 'member' ? principal.memberId : undefined;
    const work = async (tx: EntityManager) => {
      const answer = await route.handle({ ...call, em: tx });
      return { ...render(route, answer), subject: answer.subject ?? callerId };
    };
    const guard =
      route.guardRepeat && ((isSame: () => Promise<boolean>) => route.guardRepeat!({ ...call, em }, isSame));
    const key = route.idempotent ? idempotencyKey(ctx) : undefined;
    const requester = requesterOf(principal);
    await withProvenance({ requestedBy: requester, traceparent: ctx.state.traceparent }, async () => {
      if (key === undefined) return send(ctx, await work(em));
      const request = JSON.stringify([ctx.method, ctx.path, call.body]);
      const { answer, replayed } = await idempotency!.once(em, { key, requester, request, guard }, work);
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
  throw new DomainError(
    'invalid-idempotency-key',
    'An Idempotency-Key must have 16 to 255 visible ASCII characters',
    'invalid',
  );
}

const EMPTY = z.strictObject({});

async function readRequest(ctx: Context, { params = EMPTY, query = EMPTY, body = EMPTY.optional() }: Route) {
  return {
    params: validate(params, { ...ctx.params }, 'path'),
    query: validate(query, { ...ctx.query }, 'query'),
    body: validate(body, await readJson(ctx), 'body'),
  };
}

function client({ headers }: Context): Pick<Call, 'headers' | 'userAgent'> {
  return { headers, userAgent: (headers['user-agent'] ?? '').replace(/\p{Cc}/gu, ' ').slice(0, 500) };
}

/** Serialises an answer through the declared schema, which drops undeclared fields. @throws for an undeclared status */
function render({ method, path, responses }: Route, { status, body, headers = {} }: Answer): SentAnswer {
  const declared = responses[status];
  if (declared === undefined)
    throw new Error(`${method} ${path} returned the status ${status}: declare it in \`responses\``);
  return { status, headers, text: typeof declared === 'string' ? null : JSON.stringify(declared.parse(body)) };
}

function send(ctx: Context, { status, headers, text }: SentAnswer): void {
  ctx.set(headers);
  ctx.body = text;
  if (text !== null) ctx.type = 'json';
  // Set last: Koa changes the status to 204 when the body is null.
  ctx.status = status;
}
