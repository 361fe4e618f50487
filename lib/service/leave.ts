import type { Server } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { endSidecar } from '#eventing/sidecar';
import { type Config, common, type Settings } from './config.ts';
import type { Health } from './health.ts';
import type { Life } from './run.ts';

const { PART_SECONDS, LINGER_SECONDS, DRAIN_SECONDS, END_SIDECAR, DAPR_HTTP_PORT, DAPR_API_TOKEN } = common;

/** How a process beside a sidecar leaves. */
export const leaving = {
  PART_SECONDS,
  LINGER_SECONDS,
  DRAIN_SECONDS,
  END_SIDECAR,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
} as const satisfies Settings;

/** A sidecar asks every second, and believes it the second time. */
const NOTICED_MS = 2_000;

export interface LeaveOptions extends Pick<Life, 'log'> {
  readonly health: Health;
  readonly server: Server;
  readonly config: Pick<
    Config<typeof leaving>,
    'PART_SECONDS' | 'LINGER_SECONDS' | 'END_SIDECAR' | 'DAPR_HTTP_PORT' | 'DAPR_API_TOKEN'
  >;
}

/**
 * The first step of a shutdown: serves on for a while, so that nobody is surprised. At first with the sidecar, while callers find others and
 * those who keep a connection are asked to close it; who has not used it all that time is cut off then, since what is asked from here on
 * cannot be asked of neighbours. Then without: the sidecar sends callers here until it is gone. One that has been told to stop notices within
 * two seconds that its app is not healthy any more, and leaves. One that nobody tells before this process has ended is told by it, as late; it
 * finishes what it has begun, which takes an app that is healthy. Never throws.
 */
export async function leave({ health, server, config, log }: LeaveOptions): Promise<void> {
  health.leave();
  await delay(config.PART_SECONDS * 1000);
  server.closeIdleConnections();
  const noticedMs = Math.min(NOTICED_MS, config.LINGER_SECONDS * 500);
  if (!config.END_SIDECAR) health.abandon();
  await delay(noticedMs);
  const sidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  const told = config.END_SIDECAR ? endSidecar(sidecar) : undefined;
  await Promise.all([
    told?.catch((error: unknown) => log.warn({ err: error }, 'the sidecar cannot be told to end')),
    delay(config.LINGER_SECONDS * 1000 - noticedMs),
  ]);
}
