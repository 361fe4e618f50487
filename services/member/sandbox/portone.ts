import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import Koa, { type Context } from 'koa';

const SLOW_MS = 30_000;

/**
 * Fake identity provider for local use, with the API of PortOne V2. The prefix of the id selects the response: `ok-` VERIFIED, always the
 * same person for the same id; `no-` FAILED; `slow-` VERIFIED after 30 s; `down-` 503; otherwise 404.
 * @param secret API secret that callers must send
 * @param stopping ends the delay of slow responses
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
  ctx.body = { type, message: 'Refused by the sandbox' };
}

/** Returns the fake person of a verification: always the same one for the same id. */
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
