import { timingSafeEqual } from 'node:crypto';
import type { Middleware } from 'koa';
import { invokedBy } from '#eventing/invocation';
import { DomainError } from '#process/errors';

/**
 * Accepts requests from this app's sidecar only: deliveries at `/events/`, invocations at all other paths. An
 * invocation of `/events/` is handled as a delivery and becomes a dead letter: on some brokers a publisher can make a
 * delivery look like an invocation, and if it were refused, the broker would redeliver it indefinitely. Never responds
 * 404: daprd drops a delivery on 404.
 * @throws DomainError 401 for a wrong token, 403 for a delivery to another path
 */
export function requireSidecarToken(appToken: string): Middleware {
  const expected = Buffer.from(appToken);
  return (ctx, next) => {
    const given = Buffer.from(ctx.get('dapr-api-token'));
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw new DomainError(
        'unauthenticated',
        'Only the Dapr sidecar of this app may call this port',
        'unauthenticated',
      );
    if (!ctx.path.startsWith('/events/') && invokedBy(ctx.headers) === undefined)
      throw new DomainError(
        'forbidden',
        'Deliver events to /events/; call other paths through Dapr service invocation',
        'forbidden',
      );
    return next();
  };
}
