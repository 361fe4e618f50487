import type { MikroORM } from '@mikro-orm/postgresql';
import { asyncApi } from '#eventing/contract';
import { type Api, createApi } from '#http/http';
import type { Idempotency } from '#http/idempotency';
import type { Health } from '#process/health';
import type { Log } from '#process/log';
import { contract } from './contract/contract.ts';
import { authenticator, type Credentials } from './http/authenticate.ts';
import { type Dependencies, routes } from './http/routes.ts';

const description = `Members: registration, identity verification, sessions and login records.

Log in with \`POST /v1/sessions\` and send the token as \`Authorization: Bearer\`. It gives access to the member's own resources.
Errors are \`application/problem+json\` with a stable \`slug\`.
External events: [events](events).`;

/** Creates the member API. */
export function memberApi(
  options: {
    orm: MikroORM;
    log: Log;
    health: Health;
    appToken: string;
    trustProxy?: boolean;
    idempotency: Idempotency;
  } & Credentials &
    Dependencies,
): Api {
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
    appToken: options.appToken,
    trustProxy: options.trustProxy,
    idempotency: options.idempotency,
  });
}
