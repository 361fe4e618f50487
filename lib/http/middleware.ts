import type Router from '@koa/router';
import type { Context, Middleware } from 'koa';
import { DependencyUnavailable, DomainError } from '#process/errors';
import type { Health } from '#process/health';

/** Responds to requests that no route has handled. @throws DomainError 404, 405, or 503 for an event */
export function refuseUnknownRoutes(router: Router): Middleware {
  return (ctx) => {
    const allowed = new Set(router.match(ctx.path, ctx.method).path.flatMap(({ methods }) => methods));
    if (allowed.size > 0) return refuseMethod(ctx, [...allowed, 'OPTIONS']);
    // daprd drops an event on 404. Events of a subscription that is not served (yet) must not be lost.
    if (ctx.is('application/cloudevents+json', 'application/cloudevents-batch+json') || ctx.get('ce-id'))
      throw new DependencyUnavailable('no-such-subscription', 'No subscription is served at this path');
    throw new DomainError('no-such-route', 'No route has this path', 'not-found');
  };
}

function refuseMethod(ctx: Context, allowed: string[]): void {
  ctx.set('Allow', allowed.join(', '));
  if (ctx.method !== 'OPTIONS')
    throw new DomainError('method-not-allowed', `Allowed methods: ${allowed.join(', ')}`, 'method-not-allowed');
  ctx.status = 204;
}

/** Has callers close their connections during a shutdown, so that their next requests reach another process. */
export function closeConnectionWhenShuttingDown(health: Health): Middleware {
  return async (ctx, next) => {
    await next();
    if (health.isShuttingDown) ctx.set('Connection', 'close');
  };
}

export const securityHeaders: Middleware = async (ctx, next) => {
  ctx.set({
    'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
  });
  await next();
};
