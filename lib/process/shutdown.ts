import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { stopSidecar } from '#eventing/sidecar-watchdog';
import { common } from './common-settings.ts';
import type { Config, Settings } from './config.ts';
import type { Health } from './health.ts';
import type { ProcessContext } from './run.ts';

const {
  SHUTDOWN_DELAY_SECONDS,
  SIDECAR_DRAIN_SECONDS,
  SHUTDOWN_TIMEOUT_SECONDS,
  STOP_SIDECAR,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
} = common;

/** Shutdown settings of a process with a sidecar. */
export const shutdownSettings = {
  SHUTDOWN_DELAY_SECONDS,
  SIDECAR_DRAIN_SECONDS,
  SHUTDOWN_TIMEOUT_SECONDS,
  STOP_SIDECAR,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
} as const satisfies Settings;

/** The sidecar probes the app every second and reacts to the second failure. */
const DETECTION_MS = 2_000;

export interface ShutdownOptions extends Pick<ProcessContext, 'log'> {
  readonly health: Health;
  readonly servers: readonly Pick<Server, 'closeIdleConnections'>[];
  readonly config: Pick<
    Config<typeof shutdownSettings>,
    'SHUTDOWN_DELAY_SECONDS' | 'SIDECAR_DRAIN_SECONDS' | 'STOP_SIDECAR' | 'DAPR_HTTP_PORT' | 'DAPR_API_TOKEN'
  >;
}

/**
 * Runs the phases of a shutdown before the servers close. Never throws.
 * 1. Readiness fails and responses ask callers to close their connections. The process keeps serving until endpoints
 *    and DNS have dropped it. Then idle connections are closed: a request that arrives later could no longer call
 *    dependencies through the sidecar.
 * 2. The process serves without its sidecar, which routes requests here until it has stopped. A sidecar that received
 *    SIGTERM as well stops within two seconds after health fails. A native sidecar gets no signal before this process
 *    has exited, so with STOP_SIDECAR it is stopped through its API, equally late. It finishes its work first and needs
 *    a healthy app for that.
 */
export async function shutDownGracefully({ health, servers, config, log }: ShutdownOptions): Promise<void> {
  health.markUnready();
  await delay(config.SHUTDOWN_DELAY_SECONDS * 1000);
  for (const server of servers) server.closeIdleConnections();
  const detectionMs = Math.min(DETECTION_MS, config.SIDECAR_DRAIN_SECONDS * 500);
  if (!config.STOP_SIDECAR) health.markUnhealthy();
  await delay(detectionMs);
  const sidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  const stopped = config.STOP_SIDECAR ? stopSidecar(sidecar) : undefined;
  await Promise.all([
    stopped?.catch((error: unknown) => log.warn({ err: error }, 'could not stop the sidecar, continuing without it')),
    delay(config.SIDECAR_DRAIN_SECONDS * 1000 - detectionMs),
  ]);
}
