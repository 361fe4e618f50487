import { endSidecar } from '#eventing/sidecar';
import { type Config, common, type Settings } from './config.ts';
import type { Health } from './health.ts';
import type { Life } from './run.ts';

const { LINGER_SECONDS, DRAIN_SECONDS, END_SIDECAR, DAPR_HTTP_PORT, DAPR_API_TOKEN } = common;

/** How a process beside a sidecar leaves. */
export const leaving = {
  LINGER_SECONDS,
  DRAIN_SECONDS,
  END_SIDECAR,
  DAPR_HTTP_PORT,
  DAPR_API_TOKEN,
} as const satisfies Settings;

export interface LeaveOptions extends Pick<Life, 'log'> {
  readonly health: Health;
  readonly config: Pick<Config<typeof leaving>, 'LINGER_SECONDS' | 'END_SIDECAR' | 'DAPR_HTTP_PORT' | 'DAPR_API_TOKEN'>;
}

/**
 * The first step of a shutdown: leaves as {@link Health.leave} says. A sidecar that nobody tells to stop before this process has ended is
 * told by it. That one ends at once, whatever its app's health, so not before callers have parted. Never throws.
 */
export async function leave({ health, config, log }: LeaveOptions): Promise<void> {
  const sidecar = { port: config.DAPR_HTTP_PORT, apiToken: config.DAPR_API_TOKEN };
  const tellSidecar = () =>
    endSidecar(sidecar).catch((error: unknown) => log.warn({ err: error }, 'the sidecar cannot be told to end'));
  await health.leave(config.LINGER_SECONDS, config.END_SIDECAR ? tellSidecar : undefined);
}
