import type Router from '@koa/router';
import type { Api } from '#http/http';
import type { Listener } from '#http/listeners';

/** Documentation that every service with an API serves at its listeners for people. */
const DOCUMENTS = [
  'GET /',
  'GET /asyncapi.json',
  'GET /docs',
  'GET /docs/',
  'GET /docs/events',
  'GET /docs/events.css',
  'GET /docs/favicon-32x32.png',
  'GET /docs/init.js',
  'GET /docs/swagger-ui-bundle.js',
  'GET /docs/swagger-ui.css',
  'GET /openapi.json',
];

/** Routes of every service that need no credential, by listener. */
export const OPEN_TO_ALL: Readonly<Record<Listener, readonly string[]>> = {
  public: DOCUMENTS,
  sidecar: ['GET /healthz'],
  operations: [...DOCUMENTS, 'GET /healthz', 'GET /readyz'],
};

/** Number of middlewares without routes: log, headers, shutdown, content coding, unknown routes; at the sidecar's also its token. */
const WITHOUT_ROUTES = { public: 5, sidecar: 6, operations: 5 };

/** Lists all routes of a listener, as `METHOD path`. @throws when a middleware is mounted whose routes cannot be listed */
export function routesOf(api: Api, listener: Listener): string[] {
  const mounted = api[listener].middleware as { router?: Router }[];
  const routers = mounted.flatMap(({ router }) => router ?? []);
  const others = mounted.length - routers.length;
  const expected = WITHOUT_ROUTES[listener];
  if (others !== expected) throw new Error(`${others} middlewares without routes, expected ${expected}`);
  return routers.flatMap(({ stack }) =>
    stack.map(({ methods, path }) => `${methods.filter((method) => method !== 'HEAD').join(' ') || 'ANY'} ${path}`),
  );
}
