import Router from '@koa/router';
import Koa from 'koa';
import { request } from 'undici';

/** Resolves when the dependency works, rejects with the reason when it does not. */
export type Check = () => Promise<void>;

/** A check that takes longer counts as failed; orchestrators allow a probe one to a few seconds. */
const CHECK_TIMEOUT_MS = 2_000;

/** Health and readiness of this process: healthy until it shuts down, ready while all checks pass. */
export class Health {
  readonly #checks: Readonly<Record<string, Check>>;
  #shuttingDown = false;
  #healthy = true;

  constructor(checks: Readonly<Record<string, Check>>) {
    this.#checks = checks;
  }

  /** Fails readiness from now on, and has responses ask callers to close their connections. */
  markUnready(): void {
    this.#shuttingDown = true;
  }

  /** Fails health as well: the sidecar sends no more requests, and exits if its own shutdown has begun. */
  markUnhealthy(): void {
    this.#healthy = false;
  }

  get isHealthy(): boolean {
    return this.#healthy;
  }

  get isShuttingDown(): boolean {
    return this.#shuttingDown;
  }

  /** Runs all checks. @returns for each check `ok` or the reason of the failure */
  async readiness(): Promise<{ ready: boolean; checks: Record<string, string> }> {
    if (this.#shuttingDown) return { ready: false, checks: { process: 'shutting down' } };
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
    // Codes only: messages may name hosts and roles, and probes need no credential.
    return (error as { code?: string }).code ?? (Error.isError(error) ? error.name : 'failed');
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Raises the server's own error for a write on a read-only connection, so that dead-connections.ts ends the connection.
 */
const MUST_WRITE = `
do $$ begin
  if current_setting('transaction_read_only')::boolean then raise read_only_sql_transaction; end if;
end $$`;

/** Passes while the database answers and accepts writes; a server in recovery is read-only. */
export function databaseCheck(orm: { em: { getConnection(): { execute(sql: string): Promise<unknown> } } }): Check {
  return async () => {
    await orm.em.getConnection().execute(MUST_WRITE);
  };
}

/**
 * Passes while the sidecar can send for this process. Rejected alternatives: the SDK's `health.isHealthy` reads
 * `/metadata`, waits up to 30 s for a sidecar that is down, and has no timeout; `/v1.0/healthz` depends on this
 * process, which would then wait for itself.
 */
export function daprCheck({ port, host = '127.0.0.1' }: { port: number; host?: string }): Check {
  return async () => {
    const { statusCode, body } = await request(`http://${host}:${port}/v1.0/healthz/outbound`, {
      headersTimeout: CHECK_TIMEOUT_MS,
      bodyTimeout: CHECK_TIMEOUT_MS,
      // A new connection each time: a reused connection to a since restarted sidecar would look like an outage.
      reset: true,
    });
    await body.dump();
    if (statusCode !== 204)
      throw Object.assign(new Error('The Dapr sidecar is not ready'), { code: `HTTP ${statusCode}` });
  };
}

/** Adds `/healthz` and `/readyz`. */
export function addProbes(router: Router, health: Health): void {
  addHealthCheck(router, health);
  router.get('/readyz', async (ctx) => {
    const { ready, checks } = await health.readiness();
    ctx.status = ready ? 200 : 503;
    ctx.body = { status: ready ? 'ok' : 'unavailable', checks };
  });
}

function addHealthCheck(router: Router, health: Health): void {
  router.get('/healthz', (ctx) => {
    ctx.status = health.isHealthy ? 200 : 503;
    ctx.body = { status: health.isHealthy ? 'ok' : 'stopping' };
  });
}

/** Serves `/healthz` only, for the sidecar, which probes without a credential. */
export function healthCheck(health: Health): Koa.Middleware {
  const router = new Router();
  addHealthCheck(router, health);
  return router.routes() as Koa.Middleware;
}

/** Creates a server for probes only, for processes without an API. */
export function createProbes(health: Health): Koa {
  const router = new Router();
  addProbes(router, health);
  const app = new Koa();
  app.use(router.routes());
  return app;
}
