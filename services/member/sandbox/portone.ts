import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import Koa, { type Context } from 'koa';

const SLOW_MS = 30_000;

/**
 * Stands in for the identity provider on a laptop, in the shape of PortOne V2. What it answers depends on how the id begins:
 * `ok-` VERIFIED, the same id always as the same person; `no-` FAILED; `slow-` VERIFIED after 30 s; `down-` 503; else 404.
 * @param stopping ends the waiting of slow answers
 */
export function portOneSandbox(secret: string, stopping?: AbortSignal): Koa {
  const app = new Koa();
  app.use(async (ctx) => {
    if (ctx.path === '/healthz') ctx.body = { status: 'ok' };
    else if (ctx.get('authorization') !== `PortOne ${secret}`) refuse(ctx, 401, 'UNAUTHORIZED');
    else await answer(ctx, stopping);
  });
  return app;
}

async function answer(ctx: Context, stopping: AbortSignal | undefined): Promise<void> {
  const segment = /^\/identity-verifications\/([^/]+)$/.exec(ctx.path)?.[1] ?? '';
  const id = decodeURIComponent(segment);
  const behaviour = ctx.method === 'GET' ? /^(ok|no|slow|down)-/.exec(id)?.[1] : undefined;
  if (behaviour === undefined) return refuse(ctx, 404, 'IDENTITY_VERIFICATION_NOT_FOUND');
  if (behaviour === 'down') return refuse(ctx, 503, 'PG_PROVIDER');
  if (behaviour === 'slow') await delay(SLOW_MS, undefined, { signal: stopping }).catch(() => undefined);
  ctx.body = behaviour === 'no' ? failed(id) : verified(id);
}

function refuse(ctx: Context, status: number, type: string): void {
  ctx.status = status;
  ctx.body = { type, message: 'Answered by the sandbox' };
}

/** Who a verification with this id is of: the same id always the same person. */
export function identityOf(id: string) {
  const digest = createHash('sha256').update(id).digest();
  const number = (from: number, below: number) => digest.readUInt32BE(from) % below;
  const pad = (value: number, length: number) => String(value).padStart(length, '0');
  return {
    ci: digest.toString('base64'),
    name: `Person ${pad(number(0, 10_000), 4)}`,
    birthDate: `${1950 + number(4, 50)}-${pad(1 + number(8, 12), 2)}-${pad(1 + number(12, 28), 2)}`,
    phoneNumber: `010${pad(number(16, 1e8), 8)}`,
  };
}

function verified(id: string): object {
  const verifiedCustomer = identityOf(id);
  return { ...times(id), status: 'VERIFIED', verifiedCustomer, verifiedAt: now(), pgTxId: id, pgRawResponse: '{}' };
}

function failed(id: string): object {
  return { ...times(id), status: 'FAILED', requestedCustomer: {}, failure: { reason: 'Failed in the sandbox' } };
}

const now = (): string => new Date().toISOString();
const times = (id: string) => ({ id, requestedAt: now(), updatedAt: now(), statusChangedAt: now(), version: 'V2' });
