import type { MikroORM } from '@mikro-orm/postgresql';
import type { Middleware } from 'koa';
import { asyncApi } from '#eventing/contract';
import { type Api, createApi } from '#http/http';
import type { Idempotency } from '#http/idempotency';
import type { Health } from '#process/health';
import type { Log } from '#process/log';
import { contract } from './contract/contract.ts';
import { authenticator } from './http/authenticate.ts';
import { type Dependencies, routes } from './http/routes.ts';
import { cacheSessions } from './session-cache.ts';

const description = `Family accounts: up to five members with verified identities, one of whom is the owner.

Send the token of a member API session as \`Authorization: Bearer\`. It gives access to the member's own family account;
any other one answers 404. An address that sends many unknown tokens receives 429 \`too-many-attempts\`.
Errors are \`application/problem+json\` with a stable \`slug\`.
External events: [events](events).`;

type Options = Dependencies & {
  readonly orm: MikroORM;
  readonly log: Log;
  readonly health: Health;
  readonly operatorToken: string;
  readonly appToken: string;
  readonly idempotency: Idempotency;
  readonly trustProxy?: boolean;
  /** The event subscriptions. */
  readonly deliveries: Middleware;
};

/** Creates the family-account API. */
export function familyAccountApi({
  orm,
  log,
  health,
  operatorToken,
  appToken,
  idempotency,
  trustProxy,
  deliveries,
  ...dependencies
}: Options): Api {
  const sessionOf = cacheSessions((token, options) => dependencies.member.sessionOf(token, options));
  return createApi({
    title: 'Family-account API',
    version: '1.0.0',
    description,
    events: asyncApi(contract),
    routes: routes(dependencies),
    authenticate: authenticator({ operatorToken, sessionOf }),
    appToken,
    deliveries,
    idempotency,
    trustProxy,
    orm,
    log,
    health,
  });
}
