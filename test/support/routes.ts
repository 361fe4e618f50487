import type Router from '@koa/router';
import type Koa from 'koa';

/** What every service shows to everybody. */
export const OPEN_TO_ALL = [
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
  'GET /healthz',
  'GET /openapi.json',
  'GET /readyz',
];

/** Log, headers, parting when leaving, refusal of what nobody answered: these have no routes. */
const WITHOUT_ROUTES = 4;

/** All that an app answers, whoever has mounted it there, as `METHOD path`. @throws when something is mounted whose routes cannot be seen */
export function routesOf(app: Koa): string[] {
  const mounted = app.middleware as { router?: Router }[];
  const routers = mounted.flatMap(({ router }) => router ?? []);
  const others = mounted.length - routers.length;
  if (others !== WITHOUT_ROUTES) throw new Error(`${others} have no routes to be seen, not ${WITHOUT_ROUTES}`);
  return routers.flatMap(({ stack }) =>
    stack.map(({ methods, path }) => `${methods.filter((method) => method !== 'HEAD').join(' ') || 'ANY'} ${path}`),
  );
}
