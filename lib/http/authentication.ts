import type { EntityManager } from '@mikro-orm/postgresql';
import type { Context } from 'koa';
import { DomainError } from '#process/errors';
import type { Access, Principal } from './route.ts';

/**
 * Looks up the principal of a token.
 * @param ip address of the caller
 * @returns undefined for an unknown, expired or revoked token
 */
export type Authenticate = (token: string, em: EntityManager, ip: string) => Promise<Principal | undefined>;

const ANYONE: Principal = { kind: 'anyone' };

/**
 * https://www.rfc-editor.org/rfc/rfc6750#section-2.1. The limit exceeds the length of every token that the services
 * issue.
 */
const BEARER = /^bearer +([\w.~+/-]{1,500}=*)$/i;

/**
 * Authenticates the caller of a request and checks their access.
 * @param access the kinds of principals that may call the route
 * @returns the principal; `anyone` when the route is open to all and the caller's kind is not listed
 * @throws DomainError 401 for a missing token where one is required and for an unknown token, 403 for a principal
 * without access
 */
export async function authorize(
  ctx: Context,
  access: readonly Access[],
  authenticate: (token: string) => ReturnType<Authenticate>,
): Promise<Principal> {
  const principal = isOpenToAll(access) ? ANYONE : await identify(ctx, authenticate);
  if (access.includes(principal.kind)) return principal;
  if (access.includes('anyone')) return ANYONE;
  if (principal.kind === 'anyone') throw unauthenticated(ctx, 'A bearer token is required', '');
  ctx.set('WWW-Authenticate', 'Bearer error="insufficient_scope"');
  throw new DomainError(
    'forbidden',
    `This route is not available to ${principal.kind === 'operator' ? 'operators' : `${principal.kind}s`}`,
    'forbidden',
  );
}

// Such a route ignores tokens: a log-in must work while the client still sends the token of an ended session.
function isOpenToAll(access: readonly Access[]): boolean {
  return access.length === 1 && access[0] === 'anyone';
}

async function identify(ctx: Context, authenticate: (token: string) => ReturnType<Authenticate>): Promise<Principal> {
  const header = ctx.get('authorization');
  if (!header) return ANYONE;
  const token = BEARER.exec(header)?.[1];
  const principal = token && (await authenticate(token));
  if (!principal) throw unauthenticated(ctx, 'The token is unknown or no longer valid', ' error="invalid_token"');
  return principal;
}

function unauthenticated(ctx: Context, message: string, challenge: string): DomainError {
  ctx.set('WWW-Authenticate', `Bearer${challenge}`);
  return new DomainError('unauthenticated', message, 'unauthenticated');
}

/** Returns the requester that is stored with each event: never a person's name or address. */
export function requesterOf(principal: Principal): string {
  if (principal.kind === 'member') return `member:${principal.memberId}`;
  if (principal.kind === 'reader') return `reader:${principal.name}`;
  return principal.kind;
}
