import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { Progress } from '../local/progress.ts';
import { findProgram } from '../local/toolchain/binaries.ts';
import { daprd } from '../local/toolchain/programs.ts';
import { components, jetstreamComponents } from '../local/topology/components.ts';
import type { Broker } from './broker.ts';
import { DAPR_TOKEN, launch, TOPIC, until } from './harness.ts';
import { nextPort } from './ports.ts';

/** Token that sidecars send to their apps. */
export const APP_TOKEN = 'another-token-for-the-bench';

export interface Sidecar {
  readonly port: number;
  readonly pid: number;
}

/** Starts the member system's daprd, with nobody subscribed. It is stopped by `stack`. */
export function startPublisher(stack: AsyncDisposableStack, broker: Broker, progress: Progress): Promise<Sidecar> {
  return startSidecarWith(stack, broker, progress, { 'app-id': 'member', 'resources-path': jetstreamComponents });
}

/** Starts a daprd without an app, and waits until it can publish. It is stopped by `stack`. */
export async function startSidecarWith(
  stack: AsyncDisposableStack,
  broker: Broker,
  progress: Progress,
  flags: Readonly<Record<string, string>>,
): Promise<Sidecar> {
  const sidecar = await start(stack, broker, progress, await nextPort(), flags);
  await until(() => get(sidecar, 'healthz/outbound'));
  return sidecar;
}

export interface SubscriberOptions {
  readonly appId: string;
  readonly appPort: number;
  /** daprd's port. */
  readonly port: number;
  /** A folder for the sidecar's resources. */
  readonly folder: string;
}

/** Starts the daprd of a subscriber, and waits until it has subscribed. It is stopped by `stack`. */
export async function startSubscriberSidecar(
  stack: AsyncDisposableStack,
  broker: Broker,
  progress: Progress,
  options: SubscriberOptions,
): Promise<Sidecar> {
  const { appId, appPort, port } = options;
  const flags = {
    'app-id': appId,
    'app-port': appPort,
    'resources-path': await writeResources(options),
    'enable-app-health-check': true,
    'app-health-check-path': '/healthz',
    'app-health-probe-interval': 1,
    'app-health-threshold': 1,
    'disable-init-endpoints': 'config,subscribe',
  };
  const sidecar = await start(stack, broker, progress, port, flags);
  await until(async () => {
    await get(sidecar, 'healthz');
    const { subscriptions } = (await get(sidecar, 'metadata')) as { subscriptions?: readonly unknown[] };
    if (!subscriptions?.length) throw new Error(`${appId} has not subscribed`);
  });
  return sidecar;
}

/** Writes the Component and the Subscription of components/, for another app. @returns their folder */
async function writeResources({ appId, folder }: SubscriberOptions): Promise<string> {
  const target = join(folder, `resources-${appId}`);
  await mkdir(target, { recursive: true });
  const component = await documentOf(join(jetstreamComponents, 'workers.yaml'), `workers-${TOPIC}`);
  const scopes = `${appId}=${TOPIC}`;
  component.scopes = [appId];
  for (const entry of component.spec.metadata) if (entry.name === 'subscriptionScopes') entry.value = scopes;
  const subscription = await documentOf(join(components, 'subscriptions.yaml'), `publish-recorder-${TOPIC}`);
  subscription.scopes = [appId];
  // JSON is YAML.
  await writeFile(join(target, 'component.yaml'), JSON.stringify(component));
  await writeFile(join(target, 'subscription.yaml'), JSON.stringify(subscription));
  await writeFile(join(target, 'resiliency.yaml'), await readFile(join(components, 'resiliency.yaml')));
  return target;
}

// biome-ignore lint/suspicious/noExplicitAny: a Dapr resource
async function documentOf(file: string, name: string): Promise<any> {
  const documents = parseAllDocuments(await readFile(file, 'utf8')).map((it) => it.toJS());
  return documents.find(({ metadata }) => metadata.name === name);
}

let program: Promise<string> | undefined;

async function start(
  stack: AsyncDisposableStack,
  broker: Broker,
  progress: Progress,
  port: number,
  flags: Record<string, string | number | boolean>,
): Promise<Sidecar> {
  const common = {
    'dapr-http-port': port,
    'dapr-grpc-port': await nextPort(),
    'dapr-internal-grpc-port': await nextPort(),
    'dapr-listen-addresses': '127.0.0.1',
    'dapr-internal-grpc-listen-address': '127.0.0.1',
    'enable-metrics': false,
    'log-level': 'error',
  };
  const args = Object.entries({ ...common, ...flags }).map(([flag, value]) => `--${flag}=${value}`);
  program ??= findProgram(daprd, progress, new AbortController().signal);
  const tokens = { DAPR_API_TOKEN: DAPR_TOKEN, APP_API_TOKEN: APP_TOKEN };
  const { pid } = launch(stack, await program, args, { NATS_URL: broker.url, ...tokens });
  return { port, pid: pid! };
}

async function get({ port }: Sidecar, path: string): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${port}/v1.0/${path}`, { headers: { 'dapr-api-token': DAPR_TOKEN } });
  if (!answer.ok) throw new Error(`daprd is not ready: ${answer.status} of ${path}`);
  return answer.status === 204 ? undefined : await answer.json();
}
