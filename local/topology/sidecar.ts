import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ProcessSpec } from '../supervisor/managed-process.ts';
import { components, declaredTopics, jetstreamComponents } from './components.ts';

/** Settings of all sidecars of a local run. */
export interface SidecarSettings {
  readonly daprd: string;
  readonly configurations: DaprConfigurations;
  /** Broker URL of each app, with its own user. */
  readonly brokerUrls: Readonly<Record<string, string>>;
  /** Creates the missing consumers of an app: sidecars have no permission to. */
  readonly createConsumers: (appId: string) => Promise<void>;
  readonly daprApiToken: string;
  readonly appApiToken: string;
}

const YEAR = '8760h';

export type SidecarPorts = Readonly<Record<'http' | 'grpc' | 'internal', number>>;

/** Paths of the Dapr Configurations. */
export interface DaprConfigurations {
  /** For sidecars whose apps may be invoked. These apps receive no events. */
  readonly invocable: string;
  /** For all others: every invocation is denied, since an app cannot tell it from a delivery by its credential. */
  readonly closed: string;
}

/**
 * Writes the Dapr Configurations of a local run. Names are resolved by a SQLite file, since Dapr's default, mDNS, uses
 * the local network. Without certificates a sidecar cannot identify callers: it can only deny all invocations or none.
 */
export async function writeDaprConfigurations(dataDir: string): Promise<DaprConfigurations> {
  const names = join(dataDir, 'dapr-names.db');
  // Entries of an earlier run would stay valid.
  await Promise.all(['', '-wal', '-shm'].map((part) => rm(`${names}${part}`, { force: true })));
  // Mode 0600: sidecars would create it readable for all users, and it lists the addresses of all sidecars.
  await (await open(names, 'wx', 0o600)).close();
  const write = async (name: string, accessControl?: object): Promise<string> => {
    const file = join(dataDir, `${name}.yaml`);
    // JSON is YAML.
    await writeFile(file, `${JSON.stringify(configuration(names, accessControl), null, 2)}\n`);
    return file;
  };
  return {
    invocable: await write('dapr-invocable'),
    closed: await write('dapr', { defaultAction: 'deny', trustDomain: 'public' }),
  };
}

function configuration(names: string, accessControl: object | undefined): object {
  return {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Configuration',
    metadata: { name: 'laptop' },
    spec: {
      // Restricts gRPC, which no app uses, to one method: without a rule a protocol is fully open, as HTTP is here.
      api: { allowed: [{ name: 'metadata', version: 'v1', protocol: 'grpc' }] },
      nameResolution: {
        component: 'sqlite',
        // Addresses are fixed for a run, so one registration is enough. Renewals (every 4 s, valid for 5 s) lock the
        // file, and a late one makes the app unreachable. The clean-up deletes live sidecars (components-contrib 1.18).
        configuration: { connectionString: names, updateInterval: YEAR, cleanupInterval: YEAR },
      },
      accessControl,
    },
  };
}

/**
 * Returns the daprd of one app. It is ready when it serves its API and has subscribed to all topics declared for the
 * app.
 */
export function sidecar(
  name: string,
  options: { appId: string; appPort: number; isInvocable: boolean; ports: SidecarPorts; settings: SidecarSettings },
): ProcessSpec {
  const { appId, ports, settings } = options;
  return {
    name,
    ports: { ...ports },
    summary: `subscribed to ${declaredTopics(appId).join(', ') || 'no topics'}`,
    command: [settings.daprd, ...flags(options)],
    env: {
      NATS_URL: settings.brokerUrls[appId]!,
      DAPR_API_TOKEN: settings.daprApiToken,
      APP_API_TOKEN: settings.appApiToken,
      // Registered for other sidecars. The default is the address of a network interface, on which daprd does not
      // listen.
      DAPR_HOST_IP: '127.0.0.1',
    },
    isReady: () => isSubscribed(appId, ports.http, settings),
  };
}

function flags({ appId, appPort, isInvocable, ports, settings }: Parameters<typeof sidecar>[1]): string[] {
  return Object.entries({
    'app-id': appId,
    'app-port': appPort,
    'resources-path': `${jetstreamComponents},${components}`,
    config: settings.configurations[isInvocable ? 'invocable' : 'closed'],
    'dapr-http-port': ports.http,
    'dapr-grpc-port': ports.grpc,
    'dapr-internal-grpc-port': ports.internal,
    'dapr-listen-addresses': '127.0.0.1',
    'dapr-internal-grpc-listen-address': '127.0.0.1',
    'enable-metrics': false,
    'enable-app-health-check': true,
    'app-health-check-path': '/healthz',
    'app-health-probe-interval': 1,
    'app-health-threshold': 1,
    // No programmatic subscriptions: they would silently override the declared ones.
    'disable-init-endpoints': 'config,subscribe',
  }).map(([flag, value]) => `--${flag}=${value}`);
}

async function isSubscribed(
  appId: string,
  port: number,
  { daprApiToken, createConsumers }: SidecarSettings,
): Promise<boolean> {
  const get = (path: string) =>
    fetch(`http://127.0.0.1:${port}/v1.0/${path}`, {
      headers: { 'dapr-api-token': daprApiToken },
      signal: AbortSignal.timeout(1000),
    });
  // Before daprd has found its app it is unhealthy, and its metadata lists subscriptions that are not active yet.
  const [health, metadata] = await Promise.all([get('healthz'), get('metadata')]);
  if (!health.ok) return false;
  // The broker may have lost consumers since it started; daprd would wait for them indefinitely.
  await createConsumers(appId);
  const { subscriptions = [] } = (await metadata.json()) as { subscriptions?: { topic: string }[] };
  const subscribed = new Set(subscriptions.map(({ topic }) => topic));
  return declaredTopics(appId).every((topic) => subscribed.has(topic));
}
