import Router from '@koa/router';
import Koa from 'koa';
import { request } from 'undici';

/** Resolves when the dependency can do its work, rejects with the reason when it cannot. */
export type Check = () => Promise<void>;

/** A check that hangs is a check that failed; orchestrators give a probe one to a few seconds. */
const CHECK_TIMEOUT_MS = 2_000;

/** What this process answers to probes. It is healthy until it leaves, and ready while all its checks pass. */
export class Health {
  readonly #checks: Readonly<Record<string, Check>>;
  #leaving = false;
  #healthy = true;

  constructor(checks: Readonly<Record<string, Check>>) {
    this.#checks = checks;
  }

  /** Not ready from now on; whoever keeps a connection is asked to close it. */
  leave(): void {
    this.#leaving = true;
  }

  /** Not healthy either: a sidecar sends nobody here any more, and leaves if it has been told to. */
  abandon(): void {
    this.#healthy = false;
  }

  get isHealthy(): boolean {
    return this.#healthy;
  }

  get isLeaving(): boolean {
    return this.#leaving;
  }

  /** `ok`, or what is wrong, by check. */
  async readiness(): Promise<{ ready: boolean; checks: Record<string, string> }> {
    if (this.#leaving) return { ready: false, checks: { process: 'shutting down' } };
    const results = await Promise.all(
      Object.entries(this.#checks).map(async ([name, check]) => [name, await outcome(check)] as const),
    );
    return { ready: results.every(([, result]) => result === 'ok'), checks: Object.fromEntries(results) };
  }
}

async function outcome(check: Check): Promise<string> {
  const { promise: timeout, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error('no answer in time')), CHECK_TIMEOUT_MS);
  try {
    await Promise.race([check(), timeout]);
    return 'ok';
  } catch (error) {
    // No messages: they may name hosts and roles, and probes are open to everybody.
    return (error as { code?: string }).code ?? (Error.isError(error) ? error.name : 'failed');
  } finally {
    clearTimeout(timer);
  }
}

/** Passes while the database answers. */
export function databaseCheck(orm: { em: { getConnection(): { execute(sql: string): Promise<unknown> } } }): Check {
  return async () => {
    await orm.em.getConnection().execute('select 1');
  };
}

/**
 * Passes while the sidecar can send for us. Not the SDK's `health.isHealthy`: it asks `/metadata`, waits up to 30 s for a sidecar that is
 * down and has no time-out. Not `/v1.0/healthz`: that waits for this process, which would then wait for itself.
 */
export function daprCheck({ port, host = '127.0.0.1' }: { port: number; host?: string }): Check {
  return async () => {
    const { statusCode, body } = await request(`http://${host}:${port}/v1.0/healthz/outbound`, {
      headersTimeout: CHECK_TIMEOUT_MS,
      bodyTimeout: CHECK_TIMEOUT_MS,
      // No kept connection: one to a sidecar that has been started again since would look like an outage.
      reset: true,
    });
    await body.dump();
    if (statusCode !== 204)
      throw Object.assign(new Error('The Dapr sidecar is not ready'), { code: `HTTP ${statusCode}` });
  };
}

/** Adds `/healthz` and `/readyz`. */
export function addProbes(router: Router, health: Health): void {
  router.get('/healthz', (ctx) => {
    ctx.status = health.isHealthy ? 200 : 503;
    ctx.body = { status: health.isHealthy ? 'ok' : 'stopping' };
  });
  router.get('/readyz', async (ctx) => {
    const { ready, checks } = await health.readiness();
    ctx.status = ready ? 200 : 503;
    ctx.body = { status: ready ? 'ok' : 'unavailable', checks };
  });
}

/** A server of nothing but probes, for processes without an API. */
export function createProbes(health: Health): Koa {
  const router = new Router();
  addProbes(router, health);
  const app = new Koa();
  app.use(router.routes());
  return app;
}
