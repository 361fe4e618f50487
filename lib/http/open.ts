import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { common } from '#process/common-settings';
import type { Config, Settings } from '#process/config';
import type { Health } from '#process/health';
import type { ProcessContext } from '#process/run';
import { shutDownGracefully, shutdownSettings } from '#process/shutdown';
import type { Api } from './http.ts';
import { type ListenOptions, listen } from './listen.ts';

const { PORT, HOST, SIDECAR_PORT, OPERATIONS_PORT, KEEP_ALIVE_SECONDS } = common;

/** Settings of the listeners and the shutdown of a process with a sidecar. */
export const listening = { HOST, SIDECAR_PORT, OPERATIONS_PORT, ...shutdownSettings } as const satisfies Settings;

/** The same for a process with a public API. */
export const publicListening = { PORT, ...listening, KEEP_ALIVE_SECONDS } as const satisfies Settings;

/** Half of all connections. Not for a public listener behind a proxy, whose connections all have one address. */
const MAX_PER_ADDRESS = 1_000;

type Public = Pick<Config<typeof publicListening>, 'PORT' | 'KEEP_ALIVE_SECONDS'> & { readonly TRUST_PROXY?: boolean };

export interface OpenOptions extends Pick<ProcessContext, 'stack' | 'onShutdown' | 'closeWithin' | 'log'> {
  readonly api: Api;
  readonly health: Health;
  /** Without PORT, no public listener is opened. */
  readonly config: Config<typeof listening> & (Public | { readonly PORT?: undefined });
}

/**
 * Opens a process's listeners, each on its own port, so that a flood of connections on one does not block the others.
 * They shut down and close concurrently, so that each has the whole timeout for its requests.
 * @throws when a port cannot be opened
 */
export async function openListeners({ api, health, config, ...context }: OpenOptions): Promise<void> {
  const { HOST: host, SHUTDOWN_TIMEOUT_SECONDS: shutdownTimeoutSeconds } = config;
  const servers: (Server & AsyncDisposable)[] = [];
  const open = async (name: keyof Api, options: ListenOptions): Promise<number> => {
    const server = await listen(api[name], { shutdownTimeoutSeconds, ...options });
    servers.push(server);
    return (server.address() as AddressInfo).port;
  };
  context.closeWithin(shutdownTimeoutSeconds);
  context.stack.defer(async () => void (await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))));
  context.onShutdown(() => shutDownGracefully({ health, servers, config, log: context.log }));
  const ports = {
    ...(config.PORT !== undefined && {
      port: await open('public', {
        port: config.PORT,
        host,
        keepAliveSeconds: config.KEEP_ALIVE_SECONDS,
        ...(config.TRUST_PROXY === false && { maxPerAddress: MAX_PER_ADDRESS }),
      }),
    }),
    // Only for the sidecar, which runs on the same host.
    sidecarPort: await open('sidecar', { port: config.SIDECAR_PORT, host: '127.0.0.1' }),
    // Opened last, because it reports readiness: the other ports must be open by then.
    operationsPort: await open('operations', { port: config.OPERATIONS_PORT, host, maxPerAddress: MAX_PER_ADDRESS }),
  };
  context.log.info(ports, 'listening');
}
