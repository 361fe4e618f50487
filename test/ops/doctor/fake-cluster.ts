import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SubscriberStatus } from '#eventing/subscriber-status';
import { charts } from '../../../docs/charts.ts';
import { diagnose } from '../../../ops/doctor/report.ts';
import { workers } from '../../../services/workers/workers.ts';
import { helmPrograms, type Manifest, render } from '../../support/helm.ts';

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes' own resources
export type Resource = any;

/** All resources and reports that the doctor reads. */
export interface FakeCluster {
  readonly components: Resource[];
  readonly subscriptions: Resource[];
  readonly resiliencies: Resource[];
  readonly deployments: Resource[];
  readonly pods: Resource[];
  definitions: Resource[] | undefined;
  subscribers: Writable<SubscriberStatus>[];
  /** The pages of the API's list of discrepancies. */
  discrepancies: Resource[];
  /** The API's lists of events that have not arrived. */
  gaps: Resource;
  missingEvents: Resource;
}
type Writable<T> = T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;

const [helm] = await helmPrograms();
const manifests: Manifest[] = (await Promise.all(charts.map((chart) => render(helm!, chart)))).flat();

export const APPS = ['member', ...Object.keys(workers), 'family-account'];
export const NOW = () => new Date().toISOString();

/** Returns a cluster as the charts render it, with healthy apps. */
export function healthyCluster(): FakeCluster {
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
    discrepancies: [{ unpublished: [], notStored: [], next: null }],
    gaps: { gaps: [] },
    missingEvents: { events: [] },
    subscribers: APPS.map((appId) => ({
      appId,
      topics: of(subscriptions, appId).map(({ spec }) => ({
        topic: spec.topic,
        lastReceivedAt: NOW(),
        stalledSince: null,
        pendingSince: null,
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

/** Returns a healthy cluster whose family-account uses another broker. */
export async function healthyClusterWith(broker: string): Promise<FakeCluster> {
  const cluster = healthyCluster();
  for (const it of await render(helm!, 'family-account', `broker: { kind: ${broker} }`)) {
    const all = { Component: cluster.components, Subscription: cluster.subscriptions }[it.kind];
    all?.splice(all.indexOf(named(all, it.metadata.name)), 1, it);
  }
  return cluster;
}

/** Serves a fake Kubernetes API and a fake API of the system. test/cluster uses the real ones. */
export async function serve(cluster: FakeCluster) {
  const namespaced = ['pods', 'deployments', 'components', 'subscriptions', 'resiliencies'] as const;
  const requests: string[] = [];
  const server = createServer(({ url = '', headers }, response) => {
    requests.push(`${url} ${headers.authorization}`);
    const answer = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (url.startsWith('/nonsense')) return answer(200, { items: [] });
    if (url.startsWith('/v1/discrepancies')) {
      const page = /after=page-(\d)/.exec(url)?.[1] ?? 0;
      const it = cluster.discrepancies[Number(page)];
      return answer(it.status ?? 200, it);
    }
    const list = { '/v1/gaps': cluster.gaps, '/v1/missing-events': cluster.missingEvents }[url.split('?')[0]!];
    if (list) return answer(list.status ?? 200, list);
    if (url === '/v1/subscribers') return answer(200, { subscribers: cluster.subscribers });
    const definition = /customresourcedefinitions\/(.+)/.exec(url)?.[1];
    if (definition && !cluster.definitions) return answer(403, { message: 'forbidden' });
    const found = cluster.definitions?.find(({ metadata }) => metadata.name === definition);
    if (definition) return found ? answer(200, found) : answer(404, { message: 'not found' });
    const plural = namespaced.find((it) => url.split('?')[0]!.endsWith(`/namespaces/here/${it}`));
    return plural ? answer(200, { items: cluster[plural] }) : answer(404, { message: 'no such list' });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    requests,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Runs the doctor on a fake cluster. */
export async function runDoctor(cluster: FakeCluster) {
  await using server = await serve(cluster);
  return await diagnose({
    kubernetes: { url: server.url, token: 'of-the-doctor' },
    namespace: 'here',
    apiUrl: server.url,
    operatorToken: 'of-operators',
    apps: APPS,
  });
}

/** A fault to inject, and the findings that it causes. */
export type Fault = [
  what: string,
  injectFault: (cluster: FakeCluster) => void,
  ...expected: [where: string, what: RegExp][],
];

/** Checks that a single fault in a healthy cluster causes exactly these findings, each with a remedy. */
export async function expectFindings(
  injectFault: Fault[1],
  expected: readonly [where: string, what: RegExp][],
): Promise<void> {
  const cluster = healthyCluster();
  injectFault(cluster);
  const { findings } = await runDoctor(cluster);
  const matching = expected.map(([where, what]) => ({
    where,
    what: expect.stringMatching(what),
    remedy: expect.stringMatching(/^[A-Z][^\n]*: docs\/doctor\.md#[a-z-]+$/),
  }));
  expect(findings).toEqual(expect.arrayContaining(matching));
  expect(findings).toHaveLength(matching.length);
}

export const named = (resources: Resource[], name: string) => resources.find(({ metadata }) => metadata.name === name);
export const remove = (resources: Resource[], name: string) =>
  resources.splice(resources.indexOf(named(resources, name)), 1);
export const subscriberOf = (cluster: FakeCluster, app: string) =>
  cluster.subscribers.find(({ appId }) => appId === app)!;
export const set = (cluster: FakeCluster, component: string, key: string, value: string | undefined) => {
  const { spec } = named(cluster.components, component);
  spec.metadata = spec.metadata.filter(({ name }: { name: string }) => name !== key);
  if (value !== undefined) spec.metadata.push({ name: key, value });
};
export const annotate = (cluster: FakeCluster, app: string, annotation: string, value: string) => {
  named(cluster.deployments, app).spec.template.metadata.annotations[annotation] = value;
};
export const LISTENER = 'family-account-member-external';
