import { join } from 'node:path';
import type { SystemUrls } from '../services/databases/create-database.ts';
import type { ProcessSpec } from './managed-process.ts';
import type { Secrets } from './secrets.ts';
import { type SidecarSettings, sidecar } from './sidecar.ts';
import type { Layer } from './supervisor.ts';

const root = join(import.meta.dirname, '..');

const workers = [
  'publish-recorder',
  'device-login-recorder',
  'other-device-logout',
  'other-member-logout',
  'external-broadcaster',
];

/** What the processes of both systems are told. */
export interface Surroundings {
  readonly databases: { readonly member: SystemUrls; readonly familyAccount: SystemUrls };
  readonly secrets: Secrets;
  readonly sidecars: SidecarSettings;
  /** A free port; the preferred one when that is free. */
  readonly nextPort: (preferred?: number) => Promise<number>;
  /** Whether the APIs are tried at their usual ports. */
  readonly usualPorts: boolean;
}

export interface Placed {
  readonly layer: Layer;
  readonly spec: ProcessSpec;
}

/** The processes of both systems, each app with its sidecar and each API with its relay, so many times. */
export async function processes(surroundings: Surroundings, replicas: number): Promise<Placed[]> {
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
  readonly usualPort?: number;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Where its relay finds the outbox; workers have no relay. */
  readonly relayUrl?: string;
}

async function withSidecar(app: App, replica: number, surroundings: Surroundings): Promise<Placed[]> {
  const { nextPort, sidecars: settings, usualPorts } = surroundings;
  const name = replica === 1 ? app.id : `${app.id}-${replica}`;
  const appPort = await nextPort(usualPorts ? app.usualPort : undefined);
  const ports = { http: await nextPort(), grpc: await nextPort(), internal: await nextPort() };
  const env = {
    HOST: '127.0.0.1',
    DAPR_HTTP_PORT: `${ports.http}`,
    DAPR_API_TOKEN: settings.daprApiToken,
    APP_API_TOKEN: settings.appApiToken,
    BROKER_ADDRESS: new URL(settings.brokerUrl).host,
  };
  const placed: Placed[] = [
    { layer: 'sidecars', spec: sidecar(`${name}-daprd`, { appId: app.id, appPort, ports, settings }) },
    { layer: 'apps', spec: service(name, app.command, appPort, { ...env, ...app.env }) },
  ];
  if (app.relayUrl) {
    const relayEnv = { ...env, APP_ID: app.id, DATABASE_URL: app.relayUrl };
    const relay = service(`${name}-relay`, ['services/relay/main.ts'], await nextPort(), relayEnv);
    placed.push({ layer: 'apps', spec: relay });
  }
  return placed;
}

function service(name: string, command: readonly string[], port: number, env: Record<string, string>): ProcessSpec {
  return {
    name,
    command: [process.execPath, ...command],
    cwd: root,
    env: { ...env, PORT: `${port}` },
    ports: { http: port },
    says: `listens on http://127.0.0.1:${port}`,
    isReady: async () => (await get(port, '/readyz')).status === 200,
  };
}

function identityProvider(port: number, { identityProviderSecret }: Secrets): Placed {
  const env = { HOST: '127.0.0.1', IDENTITY_PROVIDER_SECRET: identityProviderSecret };
  const spec = service('identity-provider', ['services/member/identity-provider-sandbox.ts'], port, env);
  // It has the provider's endpoints only: whatever it answers, it is there.
  return { layer: 'apps', spec: { ...spec, isReady: async () => (await get(port, '/')).status > 0 } };
}

async function get(port: number, path: string): Promise<{ status: number }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(2000) });
  await response.body?.cancel();
  return response;
}
