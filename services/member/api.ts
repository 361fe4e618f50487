import type { MikroORM } from '@mikro-orm/postgresql';
import type Koa from 'koa';
import { asyncApi } from '#eventing/contract';
import type { Health } from '#service/health';
import { createApi } from '#service/http';
import type { Idempotency } from '#service/idempotency';
import type { Log } from '#service/log';
import { contract } from './contract/contract.ts';
import { authenticator, type Credentials } from './http/authenticate.ts';
import { type Neighbours, routes } from './http/routes.ts';

const description = `Members: registration, identity verification, sessions and their log.

Log in with \`POST /v1/sessions\` and send its token as \`Authorization: Bearer\`. It opens what is the member's own.
Errors are \`application/problem+json\`; decide by \`slug\`.
What happens is said to other systems too: [events](events).`;

/** The member API over its database and its neighbours. */
export function memberApi(
  options: { orm: MikroORM; log: Log; health: Health; trustProxy?: boolean; idempotency: Idempotency } & Credentials &
    Neighbours,
): Koa {
  return createApi({
    title: 'Member API',
    version: '1.0.0',
    description,
    events: asyncApi(contract),
    routes: routes(options),
    authenticate: authenticator(options),
    orm: options.orm,
    log: options.log,
    health: options.health,
    trustProxy: options.trustProxy,
    idempotency: options.idempotency,
  });
}
