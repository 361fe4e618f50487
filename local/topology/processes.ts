import { join } from 'node:path';
import type { SystemUrls } from '../../ops/create-database/create-database.ts';
import type { ProcessSpec } from '../supervisor/managed-process.ts';
import type { Layer } from '../supervisor/supervisor.ts';
import type { Secrets } from './secrets.ts';
import { type SidecarSettings, sidecar } from './sidecar.ts';

const root = join(import.meta.dirname, '../..');

const workers = [
  'publish-recorder',
  'device-login-recorder',
  'other-device-logout',
  'other-member-logout',
  'external-broadcaster',
];

/** What the processes of both systems are configured with. */
export interface ProcessSettings {
  readonly databases: { readonly member: SystemUrls; readonly familyAccount: SystemUrls };
  readonly secrets: Secrets;
  readonly sidecars: SidecarSettings;
  /** Returns a free port; the preferred one if it is free. */
  readonly nextPort: (preferred?: number) => Promise<number>;
  /** Whether the APIs use ports 8080 and 8081 when these are free. */
  readonly usualPorts: boolean;
}

export interface Placed {
  readonly layer: Layer;
  readonly spec: ProcessSpec;
}

/** Returns the processes of both systems: each app with its sidecar, each API with its relay, all `replicas` times. */
export async function processes(surroundings: ProcessSettings, replicas: number): Promise<Placed[]> {
  const { secrets, databases, nextPort } = surroundings;
  const providerPort = await nextPort();
  const member = { DATABASE_URL: databases.member.app, MASTER_KEY: secrets.member.masterKey };
  const familyAccount = { DATABASE_URL: databases.familyAccount.app, MASTER_KEY: secrets.familyAccount.masterKey };
  const placed = [identityProvider(providerPort, secrets)];
  for (let replica = 1; replica <= replicas; replica += 1) {
    const add = async (app: App) => placed.push(...(await withSidecar(app, replica, surroundings)));
    await add({
      id: 'member',
      usualPort: 8080,
      isInvocable: true,
      command: ['services/member/main.ts'],
      env: {
        ...member,
        OPERATOR_TOKEN: secrets.member.operatorToken,
        READER_TOKENS: `family-account=${secrets.memberReaderToken}`,
        IDENTITY_PROVIDER_URL: `http://127.0.0.1:${providerPort}`,
        IDENTITY_PROVIDER_SECRET: secrets.identityProviderSecret,
      },
      relayUrl: databases.member.relay,
    });
    for (const id of workers) await add({ id, command: ['services/workers/main.ts', id], env: member });
    await add({
      id: 'family-account',
      usualPort: 8081,
      command: ['services/family-account/main.ts'],
      env: {
        ...familyAccount,
        OPERATOR_TOKEN: secrets.familyAccount.operatorToken,
        MEMBER_READER_TOKEN: secrets.memberReaderToken,
      },
      relayUrl: databases.familyAccount.relay,
    });
  }
  return placed;
}

interface App {
  readonly id: string;
  /** Port of the public API; undefined for workers. */
  readonly usualPort?: number;
  /** Whether other apps invoke it. It then receives no events. */
  readonly isInvocable?: boolean;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Database URL of its relay; undefined for workers, which have none. */
  readonly relayUrl?: string;
}

async function withSidecar(app: App, replica: number, surroundings: ProcessSettings): Promise<Placed[]> {
  const { nextPort, sidecars: settings, usualPorts } = surroundings;
  const name = replica === 1 ? app.id : `${app.id}-${replica}`;
  const appPorts = {
    ...(app.usualPort && { http: await nextPort(usualPorts ? app.usualPort : undefined) }),
    sidecar: await nextPort(),
    operations: await nextPort(),
  };
  const ports = { http: await nextPort(), grpc: await nextPort(), internal: await nextPort() };
  const env = {
    HOST: '127.0.0.1',
    DAPR_HTTP_PORT: `${ports.http}`,
    DAPR_API_TOKEN: settings.daprApiToken,
    APP_API_TOKEN: settings.appApiToken,
    BROKER_ADDRESS: new URL(settings.brokerUrls[app.id]!).host,
  };
  const daprd = { appId: app.id, appPort: appPorts.sidecar, isInvocable: app.isInvocable ?? false };
  const placed: Placed[] = [
    { layer: 'sidecars', spec: sidecar(`${name}-daprd`, { ...daprd, ports, settings }) },
    { layer: 'apps', spec: service(name, app.command, appPorts, { ...env, ...app.env }) },
  ];
  if (app.relayUrl) {
    const relayEnv = { ...env, APP_ID: app.id, DATABASE_URL: app.relayUrl };
    const relay = service(`${name}-relay`, ['services/relay/main.ts'], { http: await nextPort() }, relayEnv);
    placed.push({ layer: 'apps', spec: relay });
  }
  return placed;
}

type ServicePorts = Readonly<Partial<Record<'http' | 'sidecar' | 'operations', number>>>;

function service(
  name: string,
  command: readonly string[],
  ports: ServicePorts,
  env: Record<string, string>,
): ProcessSpec {
  const { http, sidecar, operations } = ports;
  // A relay has a single port, which also serves its probes.
  const probes = operations ?? http!;
  const portSettings = { PORT: http, SIDECAR_PORT: sidecar, OPERATIONS_PORT: operations };
  return {
    name,
    command: [process.execPath, ...command],
    cwd: root,
    env: {
      ...env,
      ...Object.fromEntries(Object.entries(portSettings).flatMap(([key, port]) => (port ? [[key, `${port}`]] : []))),
    },
    ports,
    summary: `listens on http://127.0.0.1:${http ?? probes}`,
    isReady: async () => (await get(probes, '/readyz')).status === 200,
  };
}

function identityProvider(port: number, { identityProviderSecret }: Secrets): Placed {
  const env = { HOST: '127.0.0.1', IDENTITY_PROVIDER_SECRET: identityProviderSecret };
  const spec = service('identity-provider', ['services/member/identity-provider-sandbox.ts'], { http: port }, env);
  // The sandbox has no probe: any response means that it is ready.
  return { layer: 'apps', spec: { ...spec, isReady: async () => (await get(port, '/')).status > 0 } };
}

async function get(port: number, path: string): Promise<{ status: number }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(2000) });
  await response.body?.cancel();
  return response;
}
