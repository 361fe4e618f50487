import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Subscriber } from '#eventing/subscribers';
import { charts } from '../../../docs/charts.ts';
import { diagnose } from '../../../services/doctor/report.ts';
import { workers } from '../../../services/workers/workers.ts';
import { helmPrograms, type Manifest, render } from '../../support/helm.ts';

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes' own resources
export type Resource = any;

/** All that the doctor is told, as the charts make it and as apps report it that are well. */
export interface World {
  readonly components: Resource[];
  readonly subscriptions: Resource[];
  readonly resiliencies: Resource[];
  readonly deployments: Resource[];
  readonly pods: Resource[];
  definitions: Resource[] | undefined;
  subscribers: Writable<Subscriber>[];
}
type Writable<T> = T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;

const [helm] = await helmPrograms();
const manifests: Manifest[] = (await Promise.all(charts.map((chart) => render(helm!, chart)))).flat();

export const APPS = ['member', ...Object.keys(workers), 'family-account'];
export const NOW = () => new Date().toISOString();

export function well(): World {
  const ofKind = (kind: string): Resource[] => structuredClone(manifests.filter((it) => it.kind === kind));
  const components = ofKind('Component');
  const subscriptions = ofKind('Subscription');
  const deployments = ofKind('Deployment').map((it) => ({ ...it, status: { readyReplicas: it.spec.replicas } }));
  const of = (resources: Resource[], app: string) => resources.filter(({ scopes }) => scopes.includes(app));
  return {
    components,
    subscriptions,
    resiliencies: ofKind('Resiliency'),
    deployments,
    pods: deployments.map(({ metadata, spec }) => ({
      metadata: {
        name: `${metadata.name}-7f-x2`,
        labels: spec.template.metadata.labels,
        annotations: { 'dapr.io/enabled': 'true' },
      },
      spec: { containers: [...spec.template.spec.containers, { name: 'daprd' }] },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    })),
    definitions: ['components', 'configurations', 'resiliencies', 'subscriptions'].map((plural) => ({
      metadata: { name: `${plural}.dapr.io` },
      spec: {
        versions: ['v1alpha1', 'v2alpha1'].map((name) => ({
          name,
          served: true,
          schema: { openAPIV3Schema: { 'x-kubernetes-preserve-unknown-fields': true } },
        })),
      },
    })),
    subscribers: APPS.map((appId) => ({
      appId,
      topics: of(subscriptions, appId).map(({ spec }) => ({
        topic: spec.topic,
        heardAt: NOW(),
        missedSince: null,
        unheardSince: null,
      })),
      sidecars: [
        {
          replica: `${appId}-7f-x2:3500`,
          reportedAt: NOW(),
          runtimeVersion: '1.18.1',
          components: of(components, appId).map(({ metadata, spec }) => ({ name: metadata.name, type: spec.type })),
          subscriptions: of(subscriptions, appId).map(({ spec }) => ({
            component: spec.pubsubname,
            topic: spec.topic,
          })),
        },
      ],
    })),
  };
}

/** The same, with family-account at another broker. */
export async function wellWith(broker: string): Promise<World> {
  const world = well();
  for (const it of await render(helm!, 'family-account', `broker: { kind: ${broker} }`)) {
    const all = { Component: world.components, Subscription: world.subscriptions }[it.kind];
    all?.splice(all.indexOf(named(all, it.metadata.name)), 1, it);
  }
  return world;
}

/** Stands in for the API server of a cluster and for the system's API; both are tried on a cluster too. */
export async function serve(world: World) {
  const namespaced = ['pods', 'deployments', 'components', 'subscriptions', 'resiliencies'] as const;
  const asked: string[] = [];
  const server = createServer(({ url = '', headers }, response) => {
    asked.push(`${url} ${headers.authorization}`);
    const answer = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.startsWith('/nonsense')) return answer(200, { items: [] });
    if (url === '/v1/subscribers') return answer(200, { subscribers: world.subscribers });
    const definition = /customresourcedefinitions\/(.+)/.exec(url)?.[1];
    if (definition && !world.definitions) return answer(403, { message: 'forbidden' });
    const found = world.definitions?.find(({ metadata }) => metadata.name === definition);
    if (definition) return found ? answer(200, found) : answer(404, { message: 'not found' });
    const plural = namespaced.find((it) => url.split('?')[0]!.endsWith(`/namespaces/here/${it}`));
    return plural ? answer(200, { items: world[plural] }) : answer(404, { message: 'no such list' });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    asked,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export async function look(world: World) {
  await using server = await serve(world);
  return await diagnose({
    kubernetes: { url: server.url, token: 'of-the-doctor' },
    namespace: 'here',
    apiUrl: server.url,
    operatorToken: 'of-operators',
    apps: APPS,
  });
}

export type Trouble = [what: string, breakIt: (world: World) => void, ...expected: [where: string, what: RegExp][]];

/** Exactly this is found where all is well but for one thing, each with what to do about it. */
export async function finds(breakIt: Trouble[1], expected: readonly [where: string, what: RegExp][]): Promise<void> {
  const world = well();
  breakIt(world);
  const { findings } = await look(world);
  const matching = expected.map(([where, what]) => ({
    where,
    what: expect.stringMatching(what),
    // Commands to type, and words behind a #.
    remedy: expect.stringMatching(/^(?:(?:kubectl|helm|#) .*\n?)+$/),
  }));
  expect(findings).toEqual(expect.arrayContaining(matching));
  expect(findings).toHaveLength(matching.length);
}

export const named = (resources: Resource[], name: string) => resources.find(({ metadata }) => metadata.name === name);
export const remove = (resources: Resource[], name: string) =>
  resources.splice(resources.indexOf(named(resources, name)), 1);
export const subscriberOf = (world: World, app: string) => world.subscribers.find(({ appId }) => appId === app)!;
export const set = (world: World, component: string, key: string, value: string | undefined) => {
  const { spec } = named(world.components, component);
  spec.metadata = spec.metadata.filter(({ name }: { name: string }) => name !== key);
  if (value !== undefined) spec.metadata.push({ name: key, value });
};
export const annotate = (world: World, app: string, annotation: string, value: string) => {
  named(world.deployments, app).spec.template.metadata.annotations[annotation] = value;
};
export const LISTENER = 'family-account-member-external';
