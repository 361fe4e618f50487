import { print } from '../../../services/doctor/report.ts';
import { workers } from '../../../services/workers/workers.ts';
import { annotate, LISTENER, look, NOW, named, remove, set, subscriberOf, type World, well } from './world.ts';

test('nothing is found where all is as the charts make it and everybody has heard', async () => {
  const found = await look(well());
  expect(found).toEqual({ findings: [], unseen: [] });
  expect(print(found)).toBe('Nothing is found that keeps events from being heard.');
});

test('nothing is found of what Dapr’s older version of a Subscription says of itself', async () => {
  const world = well();
  Object.assign(named(world.subscriptions, LISTENER).spec, { bulkSubscribe: { enabled: false }, deadLetterTopic: '' });
  expect((await look(world)).findings).toEqual([]);
});

test.each([{}, { policy: 'constant', maxRetries: -5 }])('deliveries are tried for ever with %j', async (policy) => {
  const world = well();
  named(world.resiliencies, 'family-account').spec.policies.retries = { 'until-answered': policy };
  expect((await look(world)).findings).toEqual([]);
});

const LONG_AGO = '2020-01-01T00:00:00.000Z';
/** Through which Component which app hears something. */
const HEARD = [
  ...Object.keys(workers).map((worker) => ['workers-member-internal', worker]),
  ['workers-member-external', 'publish-recorder'],
  ...['member-external', 'family-account-internal', 'family-account-external'].map((topic) => [
    `family-account-${topic}`,
    'family-account',
  ]),
];

type Trouble = [what: string, break_: (world: World) => void, ...expected: [where: string, what: RegExp][]];
test.each<Trouble>([
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
    [`Subscription ${LISTENER}`, /is not there: family-account hears member-external until its pods are replaced/],
  ],
  [
    'a Subscription that is missing, and pods that were started without it',
    (world) => {
      remove(world.subscriptions, LISTENER);
      const [sidecar] = subscriberOf(world, 'family-account').sidecars;
      sidecar!.subscriptions = sidecar!.subscriptions.filter(({ topic }) => topic !== 'member-external');
    },
    [`Subscription ${LISTENER}`, /is not there: family-account is to hear member-external, and hears nothing/],
  ],
  [
    'a Subscription to another topic',
    (world) => {
      named(world.subscriptions, LISTENER).spec.topic = 'members';
    },
    ['Pod family-account-7f-x2', /does not follow the Subscription family-account-member-external/],
    [`Subscription ${LISTENER}`, /is not there/],
    [`Subscription ${LISTENER}`, /do not let family-account hear members/],
    [`Subscription ${LISTENER}`, /is delivered to \/events\/member-external: an app knows \/events\/members/],
    [`Subscription ${LISTENER}`, /names the Component .*, which is not the chart's of that topic/],
    [`Component ${LISTENER}`, /^durableName is "{appID}-member-external" and has to hold members/],
  ],
  [
    'a subscription of the app’s own',
    (world) => {
      const { subscriptions } = subscriberOf(world, 'publish-recorder').sidecars[0]!;
      subscriptions.push({ component: 'workers-member-internal', topic: 'another-topic' });
    },
    ['Pod publish-recorder-7f-x2', /hears another-topic through workers-member-internal, and no Subscription says so/],
  ],
  [
    'a subscription through another Component than the Subscription says',
    (world) => {
      subscriberOf(world, 'family-account').sidecars[0]!.subscriptions[0]!.component = 'pubsub';
    },
    ['Pod family-account-7f-x2', /does not follow the Subscription family-account-/],
    ['Pod family-account-7f-x2', /through pubsub, and no Subscription says so/],
  ],
  [
    'a Subscription through a Component that is missing',
    (world) => remove(world.components, LISTENER),
    [`Subscription ${LISTENER}`, /names the Component .*, which is not there/],
  ],
  [
    'a Subscription through a Component that is missing, and no business of other apps of the release',
    (world) => remove(world.components, 'workers-member-external'),
    ['Subscription publish-recorder-member-external', /names the Component .*, which is not there/],
  ],
  [
    'a Subscription for everybody, through a Component that is missing',
    (world) => {
      named(world.subscriptions, LISTENER).scopes = [];
      remove(world.components, LISTENER);
    },
    [`Subscription ${LISTENER}`, /^has no scopes/],
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
    [
      `Subscription ${LISTENER}`,
      /whose subscriptionScopes, or allowedTopics, do not let family-account hear member-external/,
    ],
  ],
  [
    'a topic that is closed to the app by being left out',
    (world) => set(world, LISTENER, 'subscriptionScopes', 'family-account=another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes, or allowedTopics, do not let/],
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
  ...[
    ['another path', { routes: { default: '/elsewhere' } }, /^is delivered to \/elsewhere: an app knows/] as const,
    [
      'a topic for what an app refuses',
      { deadLetterTopic: 'elsewhere' },
      /^sets deadLetterTopic, which no chart does/,
    ] as const,
    ['many at once', { bulkSubscribe: { enabled: true } }, /^sets bulkSubscribe, which no chart does/] as const,
  ].map(
    ([what, spec, found]): Trouble => [
      `a Subscription with ${what}`,
      (world) => Object.assign(named(world.subscriptions, LISTENER).spec, spec),
      [`Subscription ${LISTENER}`, found],
    ],
  ),
  [
    'a Component of another type',
    (world) => {
      named(world.components, 'member-member-internal').spec.type = 'pubsub.in-memory';
    },
    ['Component member-member-internal', /^it is of type pubsub.in-memory, which no chart sets/],
  ],
  [
    'a Component that is only published through, and open to all',
    (world) => {
      named(world.components, 'member-member-internal').scopes = [];
    },
    ['Component member-member-internal', /it has no scopes/],
  ],
  [
    'a topic that is not allowed',
    (world) => set(world, LISTENER, 'allowedTopics', 'another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes, or allowedTopics, do not let family-account hear/],
  ],
  [
    'a Component that somebody took away, and nothing is heard through',
    (world) => remove(world.components, 'member-member-internal'),
    ['Component member-member-internal', /^is not there for member: its sidecars have it until they are replaced/],
  ],
  [
    'a Component that somebody took away, and that no sidecar has any more',
    (world) => {
      remove(world.components, 'member-member-internal');
      const [sidecar] = subscriberOf(world, 'member').sidecars;
      sidecar!.components = sidecar!.components.filter(({ name }) => name !== 'member-member-internal');
    },
    ['Component member-member-internal', /^is not there for member, which publishes nothing through it/],
  ],
  [
    'a Subscription to somebody else’s Component',
    (world) => {
      const component = structuredClone(named(world.components, LISTENER));
      world.components.push({ ...component, metadata: { name: 'members' } });
      world.resiliencies.push({
        metadata: { name: 'members' },
        scopes: ['family-account'],
        spec: {
          policies: { retries: { always: { maxRetries: -1 } } },
          targets: { components: { members: { inbound: { retry: 'always' } } } },
        },
      });
      named(world.subscriptions, LISTENER).spec.pubsubname = 'members';
      const [sidecar] = subscriberOf(world, 'family-account').sidecars;
      sidecar!.components.push({ name: 'members', type: 'pubsub.jetstream' });
      for (const it of sidecar!.subscriptions) if (it.topic === 'member-external') it.component = 'members';
    },
    [`Subscription ${LISTENER}`, /^names the Component members, which is not the chart's of that topic/],
  ],
  [
    'a Subscription that is not raw, and for everybody',
    (world) => {
      Object.assign(named(world.subscriptions, LISTENER), { scopes: [] }).spec.metadata = {};
    },
    [`Subscription ${LISTENER}`, /^is not raw/],
    [`Subscription ${LISTENER}`, /^has no scopes: every app of the namespace follows it/],
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
  ...[
    ['deliveries that are not tried for ever', { maxRetries: 3 }] as const,
    ['deliveries that are given up after a quarter of an hour', { policy: 'Exponential', maxRetries: -1 }] as const,
  ].map(
    ([what, policy]): Trouble => [
      what,
      (world) => {
        named(world.resiliencies, 'family-account').spec.policies.retries = { 'until-answered': policy };
      },
      ...['family-account-external', 'family-account-internal', 'member-external'].map((topic): [string, RegExp] => [
        `Component family-account-${topic}`,
        /no Resiliency tries its deliveries to family-account for ever/,
      ]),
    ],
  ),
  [
    'a Resiliency for somebody else',
    (world) => {
      named(world.resiliencies, 'workers').scopes = ['publish-recorder'];
    },
    ...Object.keys(workers)
      .filter((worker) => worker !== 'publish-recorder')
      .map((worker): [string, RegExp] => [
        'Component workers-member-internal',
        new RegExp(`no Resiliency tries its deliveries to ${worker} for ever`),
      ]),
  ],
  [
    'a Resiliency of everybody’s that takes the name of a policy',
    (world) =>
      world.resiliencies.push({
        metadata: { name: 'a-platform-team' },
        spec: { policies: { retries: { 'until-answered': { maxRetries: 3 } } }, targets: {} },
      }),
    ...HEARD.map(([component, app]): [string, RegExp] => [
      `Component ${component}`,
      new RegExp(`no Resiliency tries its deliveries to ${app} for ever`),
    ]),
  ],
  [
    'two topics on one durable',
    (world) => {
      const component = 'workers-member-internal';
      named(world.subscriptions, 'publish-recorder-member-external').spec.pubsubname = component;
      for (const it of subscriberOf(world, 'publish-recorder').sidecars[0]!.subscriptions) it.component = component;
      const scopes = Object.keys(workers).map((worker) => `${worker}=member-internal,member-external`);
      set(world, component, 'subscriptionScopes', scopes.join(';'));
      set(world, component, 'allowedTopics', 'member-internal,member-external');
    },
    ['Component workers-member-internal', /publish-recorder hears .* and .* through it: a durable is of one topic/],
    ['Subscription publish-recorder-member-external', /names the Component .*, which is not the chart's of that topic/],
  ],
  [
    'a sidecar that does not ask how its app is',
    (world) => annotate(world, 'external-broadcaster', 'dapr.io/enable-app-health-check', 'false'),
    ['Deployment external-broadcaster', /^dapr.io\/enable-app-health-check is not "true"/],
  ],
  [
    'a sidecar that ends before its app',
    (world) => annotate(world, 'external-broadcaster', 'dapr.io/block-shutdown-duration', '0s'),
    ['Deployment external-broadcaster', /^dapr.io\/block-shutdown-duration is not set/],
  ],
  [
    'a sidecar that asks its app for subscriptions',
    (world) => annotate(world, 'external-broadcaster', 'dapr.io/disable-init-endpoints', 'config'),
    ['Deployment external-broadcaster', /^dapr.io\/disable-init-endpoints does not hold "subscribe"/],
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
    // Commands to type, and words behind a #.
    remedy: expect.stringMatching(/^(?:(?:kubectl|helm|#) .*\n?)+$/),
  }));
  expect(findings).toEqual(expect.arrayContaining(matching));
  expect(findings).toHaveLength(matching.length);
});
