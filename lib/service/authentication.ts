import type { EntityManager } from '@mikro-orm/postgresql';
import type { Context } from 'koa';
import { DomainError } from './errors.ts';
import type { Access, Principal } from './route.ts';

/** Says whose a token is; undefined when it is nobody's, or not valid any more. */
export type Authenticate = (token: string, em: EntityManager) => Promise<Principal | undefined>;

const ANYONE: Principal = { kind: 'anyone' };

/** https://www.rfc-editor.org/rfc/rfc6750#section-2.1; longer than any token of ours. */
const BEARER = /^bearer +([\w.~+/-]{1,500}=*)$/i;

/**
 * Finds out who is asking and whether they may.
 * @throws DomainError 401 for no or an unknown token where one is needed, 403 for somebody this is not for
 */
export async function authorize(
  ctx: Context,
  em: EntityManager,
  access: readonly Access[],
  authenticate: Authenticate,
): Promise<Principal> {
  const principal = isOpenToAll(access) ? ANYONE : await identify(ctx, em, authenticate);
  if (access.includes(principal.kind)) return principal;
  if (access.includes('anyone')) return ANYONE;
  if (principal.kind === 'anyone') throw unauthenticated(ctx, 'This needs a bearer token', '');
  ctx.set('WWW-Authenticate', 'Bearer error="insufficient_scope"');
  throw new DomainError(
    'forbidden',
    `This is not open to ${principal.kind === 'operator' ? 'operators' : `${principal.kind}s`}`,
    'forbidden',
  );
}

// A log-in must work for somebody whose client still sends the token of an ended session.
function isOpenToAll(access: readonly Access[]): boolean {
  return access.length === 1 && access[0] === 'anyone';
}

async function identify(ctx: Context, em: EntityManager, authenticate: Authenticate): Promise<Principal> {
  const header = ctx.get('authorization');
  if (!header) return ANYONE;
  const token = BEARER.exec(header)?.[1];
  const principal = token && (await authenticate(token, em));
  if (!principal) throw unauthenticated(ctx, 'The token is not known or not valid any more', ' error="invalid_token"');
  return principal;
}

function unauthenticated(ctx: Context, message: string, challenge: string): DomainError {
  ctx.set('WWW-Authenticate', `Bearer${challenge}`);
  return new DomainError('unauthenticated', message, 'unauthenticated');
}

/** Who asked, as it is stored with each fact: never a name or an address of a person. */
export function requesterOf(principal: Principal): string {
  if (principal.kind === 'member') return `member:${principal.memberId}`;
  if (principal.kind === 'reader') return `reader:${principal.name}`;
  return principal.kind;
}
