import type { MikroORM } from '@mikro-orm/postgresql';
import type Koa from 'koa';
import { asyncApi } from '#eventing/contract';
import type { Health } from '#service/health';
import { createApi } from '#service/http';
import type { Idempotency } from '#service/idempotency';
import type { Log } from '#service/log';
import { contract } from './contract/contract.ts';
import { authenticator } from './http/authenticate.ts';
import { type Neighbours, routes } from './http/routes.ts';
import { rememberSessions } from './session-memory.ts';

const description = `Family accounts: up to five members whose identity is verified, one of whom owns it.

Send the token of a session at the member API as \`Authorization: Bearer\`. It opens the family account that the member belongs to; others are
as if they did not exist. Errors are \`application/problem+json\`; decide by \`slug\`.
What happens is said to other systems too: [events](events).`;

type Options = Neighbours & {
  readonly orm: MikroORM;
  readonly log: Log;
  readonly health: Health;
  readonly operatorToken: string;
  readonly idempotency: Idempotency;
  /** Comes before the routes: the event subscriptions. */
  readonly before?: Koa.Middleware;
};

/** The family-account API over its database and the member system. */
export function familyAccountApi({
  orm,
  log,
  health,
  operatorToken,
  idempotency,
  before,
  ...neighbours
}: Options): Koa {
  const sessionOf = rememberSessions((token) => neighbours.member.sessionOf(token));
  return createApi({
    title: 'Family-account API',
    version: '1.0.0',
    description,
    events: asyncApi(contract),
    routes: routes(neighbours),
    authenticate: authenticator({ operatorToken, sessionOf }),
    before,
    idempotency,
    orm,
    log,
    health,
  });
}
