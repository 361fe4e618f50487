import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { components, declaredTopics, jetstreamComponents } from './components.ts';
import type { ProcessSpec } from './managed-process.ts';

/** What all sidecars of the laptop share. */
export interface SidecarSettings {
  readonly daprd: string;
  readonly configuration: string;
  readonly brokerUrl: string;
  readonly daprApiToken: string;
  readonly appApiToken: string;
}

export type SidecarPorts = Readonly<Record<'http' | 'grpc' | 'internal', number>>;

/**
 * Writes the Dapr Configuration of a laptop: apps find each other by a SQLite file, since Dapr's default, mDNS, speaks to the local network.
 * @returns the file's path
 */
export async function writeDaprConfiguration(dataDir: string): Promise<string> {
  const file = join(dataDir, 'dapr.yaml');
  const configuration = {
    apiVersion: 'dapr.io/v1alpha1',
    kind: 'Configuration',
    metadata: { name: 'laptop' },
    spec: {
      // Nobody speaks gRPC to a sidecar, and without a rule for it all of it is open. HTTP has none, and is.
      api: { allowed: [{ name: 'metadata', version: 'v1', protocol: 'grpc' }] },
      nameResolution: {
        component: 'sqlite',
        configuration: { connectionString: join(dataDir, 'dapr-names.db') },
      },
    },
  };
  // JSON is YAML.
  await writeFile(file, `${JSON.stringify(configuration, null, 2)}\n`);
  return file;
}

/** The daprd beside one app. It is ready when it serves its API and hears every topic that components/ declares for the app. */
export function sidecar(
  name: string,
  options: { appId: string; appPort: number; ports: SidecarPorts; settings: SidecarSettings },
): ProcessSpec {
  const { appId, ports, settings } = options;
  return {
    name,
    ports: { ...ports },
    says: `hears ${declaredTopics(appId).join(', ') || 'no topic'}`,
    command: [settings.daprd, ...flags(options)],
    env: {
      NATS_URL: settings.brokerUrl,
      DAPR_API_TOKEN: settings.daprApiToken,
      APP_API_TOKEN: settings.appApiToken,
      // What is registered for other sidecars to call; else the address of a network card, where it does not listen.
      DAPR_HOST_IP: '127.0.0.1',
    },
    isReady: () => hearsAll(appId, ports.http, settings.daprApiToken),
  };
}

function flags({ appId, appPort, ports, settings }: Parameters<typeof sidecar>[1]): string[] {
  return Object.entries({
    'app-id': appId,
    'app-port': appPort,
    'resources-path': `${jetstreamComponents},${components}`,
    config: settings.configuration,
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
    // No programmatic subscriptions: they would win over the declared ones, silently.
    'disable-init-endpoints': 'config,subscribe',
  }).map(([flag, value]) => `--${flag}=${value}`);
}

async function hearsAll(appId: string, port: number, token: string): Promise<boolean> {
  const get = (path: string) =>
    fetch(`http://127.0.0.1:${port}/v1.0/${path}`, {
      headers: { 'dapr-api-token': token },
      signal: AbortSignal.timeout(1000),
    });
  // Healthy only once it has found its app: before, its metadata list what it is going to hear.
  const [health, metadata] = await Promise.all([get('healthz'), get('metadata')]);
  const { subscriptions = [] } = (await metadata.json()) as { subscriptions?: { topic: string }[] };
  const heard = new Set(subscriptions.map(({ topic }) => topic));
  return health.ok && declaredTopics(appId).every((topic) => heard.has(topic));
}
