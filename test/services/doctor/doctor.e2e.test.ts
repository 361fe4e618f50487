import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Subscriber } from '#eventing/subscribers';
import { charts } from '../../../docs/charts.ts';
import { diagnose, print } from '../../../services/doctor/report.ts';
import { workers } from '../../../services/workers/workers.ts';
import { helmPrograms, type Manifest, render } from '../../support/helm.ts';

// biome-ignore lint/suspicious/noExplicitAny: Kubernetes' own resources
type Resource = any;

/** All that the doctor is told, as the charts make it and as apps report it that are well. */
interface World {
  readonly components: Resource[];
  readonly subscriptions: Resource[];
  readonly resiliencies: Resource[];
  readonly deployments: Resource[];
  readonly pods: Resource[];
  definitions: Resource[] | undefined;
  subscribers: Writable<Subscriber>[];
}
type Writable<T> = T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;

let manifests: Manifest[];
beforeAll(async () => {
  const [helm] = await helmPrograms();
  manifests = (await Promise.all(charts.map((chart) => render(helm!, chart)))).flat();
});

const APPS = ['member', ...Object.keys(workers), 'family-account'];
const NOW = () => new Date().toISOString();

function well(): World {
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
      topics: of(subscriptions, appId).map(({ spec }) => ({ topic: spec.topic, heardAt: NOW(), missedSince: null })),
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

/** Stands in for the API server of a cluster and for the system's API; both are tried on a cluster too. */
async function serve(world: World) {
  const namespaced = ['pods', 'deployments', 'components', 'subscriptions', 'resiliencies'] as const;
  const asked: string[] = [];
  const server = createServer(({ url = '', headers }, response) => {
    asked.push(`${url} ${headers.authorization}`);
    const answer = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
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

async function look(world: World) {
  await using server = await serve(world);
  return await diagnose({
    kubernetes: { url: server.url, token: 'of-the-doctor' },
    namespace: 'here',
    apiUrl: server.url,
    operatorToken: 'of-operators',
    apps: APPS,
  });
}

test('nothing is found where all is as the charts make it and everybody has heard', async () => {
  const found = await look(well());
  expect(found).toEqual({ findings: [], unseen: [] });
  expect(print(found)).toBe('Nothing keeps events from being heard.');
});

const named = (resources: Resource[], name: string) => resources.find(({ metadata }) => metadata.name === name);
const remove = (resources: Resource[], name: string) => resources.splice(resources.indexOf(named(resources, name)), 1);
const subscriberOf = (world: World, app: string) => world.subscribers.find(({ appId }) => appId === app)!;
const set = (world: World, component: string, key: string, value: string | undefined) => {
  const { spec } = named(world.components, component);
  spec.metadata = spec.metadata.filter(({ name }: { name: string }) => name !== key);
  if (value !== undefined) spec.metadata.push({ name: key, value });
};
const LONG_AGO = '2020-01-01T00:00:00.000Z';
const LISTENER = 'family-account-member-external';

test.each<[what: string, break_: (world: World) => void, ...expected: [where: string, what: RegExp][]]>([
  [
    'a subscriber that is ready and silent',
    (world) => {
      subscriberOf(world, 'external-broadcaster').topics[0]!.missedSince = NOW();
    },
    ['Subscription external-broadcaster-member-internal', /is silent: .* external-broadcaster has heard nothing since/],
  ],
  [
    'a Subscription that is missing',
    (world) => remove(world.subscriptions, LISTENER),
    [`Subscription ${LISTENER}`, /is not there: family-account is to hear member-external/],
  ],
  [
    'a Subscription to another topic',
    (world) => {
      named(world.subscriptions, LISTENER).spec.topic = 'members';
    },
    ['Pod family-account-7f-x2', /does not follow the Subscription family-account-member-external/],
    [`Subscription ${LISTENER}`, /is not there/],
  ],
  [
    'a Subscription through a Component that is missing',
    (world) => remove(world.components, LISTENER),
    [`Subscription ${LISTENER}`, /names the Component .*, which is not there/],
  ],
  [
    'a Subscription through a Component that is not for the app',
    (world) => {
      named(world.components, LISTENER).scopes = ['somebody'];
    },
    [`Subscription ${LISTENER}`, /whose scopes do not name family-account/],
  ],
  [
    'a topic that is closed to the app',
    (world) => set(world, LISTENER, 'subscriptionScopes', 'somebody=member-external'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes do not let family-account hear member-external/],
  ],
  [
    'a topic that is closed to the app by being left out',
    (world) => set(world, LISTENER, 'subscriptionScopes', 'family-account=another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes do not let/],
  ],
  [
    'a Subscription that is not raw, as under a definition that did not know that',
    (world) => {
      named(world.subscriptions, LISTENER).spec.metadata = {};
    },
    [`Subscription ${LISTENER}`, /is not raw/],
  ],
  [
    'a sidecar from before a Component',
    (world) => subscriberOf(world, 'member').sidecars[0]!.components.pop(),
    ['Pod member-7f-x2', /has not loaded the Component member-member-/],
  ],
  [
    'a sidecar from before a Subscription',
    (world) => subscriberOf(world, 'other-device-logout').sidecars[0]!.subscriptions.pop(),
    ['Pod other-device-logout-7f-x2', /does not follow the Subscription other-device-logout-member-internal/],
  ],
  [
    'a sidecar that reports no more',
    (world) => {
      subscriberOf(world, 'member').sidecars[0]!.reportedAt = LONG_AGO;
    },
    ['Pod member-7f-x2', /was heard of last at 2020/],
  ],
  [
    'a sidecar that never reported',
    (world) => subscriberOf(world, 'member').sidecars.pop(),
    ['Pod member-7f-x2', /has not been heard of/],
  ],
  [
    'a pod without a sidecar',
    (world) => named(world.pods, 'member-7f-x2').spec.containers.pop(),
    ['Pod member-7f-x2', /has no sidecar: it was started while the injector was away/],
  ],
  [
    'an app that is scaled to nothing',
    (world) => {
      named(world.deployments, 'external-broadcaster').spec.replicas = 0;
    },
    ['Deployment external-broadcaster', /has no pods: its events wait/],
  ],
  [
    'an app whose pods are not ready',
    (world) => {
      named(world.deployments, 'external-broadcaster').status.readyReplicas = 0;
    },
    ['Deployment external-broadcaster', /has no pod that is ready/],
  ],
  [
    'an app that is not installed',
    (world) => remove(world.deployments, 'external-broadcaster'),
    ['Deployment external-broadcaster', /is not there/],
  ],
  [
    'deliveries that are not tried for ever',
    (world) => {
      world.resiliencies.find(({ metadata }) => metadata.name === 'family-account').spec.policies.retries = {
        'until-answered': { maxRetries: 3 },
      };
    },
    ...['family-account-external', 'family-account-internal', 'member-external'].map((topic): [string, RegExp] => [
      `Component family-account-${topic}`,
      /no Resiliency tries its deliveries for ever/,
    ]),
  ],
  [
    'a Component that is open to all',
    (world) => {
      named(world.components, LISTENER).scopes = [];
    },
    [`Component ${LISTENER}`, /it has no scopes/],
  ],
])('found: %s', async (_, breakIt, ...expected) => {
  const world = well();
  breakIt(world);
  const { findings } = await look(world);
  const matching = expected.map(([where, what]) => ({
    where,
    what: expect.stringMatching(what),
    remedy: expect.stringMatching(/\w/),
  }));
  expect(findings).toEqual(expect.arrayContaining(matching));
  expect(findings).toHaveLength(matching.length);
});

describe('found: what loses events with the settings of', () => {
  test.each([
    ['jetstream', 'ackWait', undefined],
    ['jetstream', 'durableName', 'ours'],
    ['jetstream', 'deliverPolicy', 'new'],
    ['jetstream', 'concurrencyMode', 'parallel'],
    ['jetstream', 'maxDeliver', '5'],
    ['rabbitmq', 'consumerID', 'ours'],
    ['rabbitmq', 'publisherConfirm', undefined],
    ['rabbitmq', 'deliveryMode', '1'],
    ['rabbitmq', 'durable', undefined],
    ['rabbitmq', 'deletedWhenUnused', undefined],
    ['rabbitmq', 'autoAck', 'true'],
    ['rabbitmq', 'requeueInFailure', undefined],
    ['rabbitmq', 'prefetchCount', undefined],
    ['redis', 'consumerID', 'ours'],
    ['redis', 'processingTimeout', undefined],
    ['redis', 'maxLenApprox', '1000'],
    ['kafka', 'consumerGroup', 'ours'],
    ['kafka', 'initialOffset', undefined],
  ])('%s: %s %s', async (kind, key, value) => {
    const [helm] = await helmPrograms();
    const world = well();
    const made = await render(helm!, 'family-account', `broker: { kind: ${kind} }`);
    for (const component of made.filter((it) => it.kind === 'Component')) {
      remove(world.components, component.metadata.name);
      world.components.push(component);
    }
    expect((await look(world)).findings).toEqual([]);
    set(world, LISTENER, key, value);
    const { findings } = await look(world);
    expect(findings).toEqual([
      { where: `Component ${LISTENER}`, what: expect.stringMatching(`^${key} is `), remedy: expect.any(String) },
    ]);
  });
});

describe('A definition that is older than what the charts make with it', () => {
  const versions = (world: World, name: string): Resource[] => named(world.definitions!, name).spec.versions;

  test('does not serve the version', async () => {
    const world = well();
    versions(world, 'subscriptions.dapr.io')[1].served = false;
    expect((await look(world)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition subscriptions.dapr.io',
        what: expect.stringMatching(/does not serve v2alpha1/),
      },
    ]);
  });

  test('does not know a field', async () => {
    const world = well();
    const text = { type: 'string' };
    const entry = { type: 'object', properties: { name: text, value: {}, envRef: text } };
    const spec = { properties: { type: text, version: text, metadata: { type: 'array', items: entry } } };
    const schema = { properties: { scopes: { type: 'array', items: text }, spec } };
    versions(world, 'components.dapr.io')[0].schema.openAPIV3Schema = schema;
    expect((await look(world)).findings).toEqual([]);
    delete (entry.properties as { envRef?: unknown }).envRef;
    expect((await look(world)).findings).toMatchObject([
      {
        where: 'CustomResourceDefinition components.dapr.io',
        what: expect.stringMatching(/spec\.metadata\.\[\]\.envRef/),
      },
    ]);
  });

  test('is not looked for where it may not be read, and that is said', async () => {
    const world = well();
    world.definitions = undefined;
    const found = await look(world);
    expect(found.findings).toEqual([]);
    expect(print(found)).toMatch(/may not be read/);
  });
});

test('the doctor shows its own credential to each, and no other', async () => {
  await using server = await serve(well());
  const kubernetes = { url: server.url, token: 'of-the-doctor' };
  await diagnose({ kubernetes, namespace: 'here', apiUrl: server.url, operatorToken: 'of-operators', apps: APPS });
  for (const line of server.asked)
    expect(line).toMatch(line.startsWith('/v1/') ? / Bearer of-operators$/ : / Bearer of-the-doctor$/);
});

test('what cannot be asked is said', async () => {
  await using server = await serve(well());
  const options = {
    kubernetes: { url: server.url },
    apiUrl: server.url,
    operatorToken: 'token-of-operators',
    apps: APPS,
  };
  await expect(diagnose({ ...options, namespace: 'nowhere' })).rejects.toThrow(
    /^Kubernetes answered 404 to .*nowhere.*: no such list$/,
  );
  await expect(diagnose({ ...options, namespace: 'here', apiUrl: `${server.url}/elsewhere` })).rejects.toThrow(
    /^GET .*\/elsewhere\/v1\/subscribers answered 404/,
  );
});
