import { workers } from '../../../services/workers/workers.ts';
import {
  expectFindings,
  type Fault,
  healthyCluster,
  LISTENER,
  named,
  remove,
  runDoctor,
  set,
  subscriberOf,
} from './fake-cluster.ts';

test.each([{}, { policy: 'constant', maxRetries: -5 }])(
  'The doctor accepts endless retries with %j',
  async (policy) => {
    const cluster = healthyCluster();
    named(cluster.resiliencies, 'family-account').spec.policies.retries = { 'until-answered': policy };
    expect((await runDoctor(cluster)).findings).toEqual([]);
  },
);

/** The Components that apps receive through, each with its app. */
const RECEIVERS = [
  ...Object.keys(workers).map((worker) => ['workers-member-internal', worker]),
  ['workers-member-external', 'publish-recorder'],
  ...['member-external', 'family-account-internal', 'family-account-external'].map((topic) => [
    `family-account-${topic}`,
    'family-account',
  ]),
];

test.each<Fault>([
  [
    'a Component of another type',
    (cluster) => {
      named(cluster.components, 'member-member-internal').spec.type = 'pubsub.in-memory';
    },
    ['Component member-member-internal', /^has the unsupported type pubsub.in-memory, which no chart sets/],
  ],
  [
    'a publish-only Component without scopes',
    (cluster) => {
      named(cluster.components, 'member-member-internal').scopes = [];
    },
    ['Component member-member-internal', /has no scopes/],
  ],
  [
    'a deleted publish-only Component',
    (cluster) => remove(cluster.components, 'member-member-internal'),
    ['Component member-member-internal', /^is missing for member: its running sidecars still have it/],
  ],
  [
    'a deleted publish-only Component that no sidecar has loaded',
    (cluster) => {
      remove(cluster.components, 'member-member-internal');
      const [sidecar] = subscriberOf(cluster, 'member').sidecars;
      sidecar!.components = sidecar!.components.filter(({ name }) => name !== 'member-member-internal');
    },
    ['Component member-member-internal', /^is missing for member, which cannot publish through it/],
  ],
  ...[
    ['deliveries with limited retries', { maxRetries: 3 }] as const,
    ['deliveries whose retries end after 15 minutes', { policy: 'Exponential', maxRetries: -1 }] as const,
  ].map(
    ([what, policy]): Fault => [
      what,
      (cluster) => {
        named(cluster.resiliencies, 'family-account').spec.policies.retries = { 'until-answered': policy };
      },
      ...['family-account-external', 'family-account-internal', 'member-external'].map((topic): [string, RegExp] => [
        `Component family-account-${topic}`,
        /has no Resiliency with unlimited retries for family-account/,
      ]),
    ],
  ),
  [
    'a Resiliency whose scopes lack apps',
    (cluster) => {
      named(cluster.resiliencies, 'workers').scopes = ['publish-recorder'];
    },
    ...Object.keys(workers)
      .filter((worker) => worker !== 'publish-recorder')
      .map((worker): [string, RegExp] => [
        'Component workers-member-internal',
        new RegExp(`has no Resiliency with unlimited retries for ${worker}`),
      ]),
  ],
  [
    'a Resiliency without scopes that takes the name of a policy',
    (cluster) =>
      cluster.resiliencies.push({
        metadata: { name: 'a-platform-team' },
        spec: { policies: { retries: { 'until-answered': { maxRetries: 3 } } }, targets: {} },
      }),
    ...RECEIVERS.map(([component, app]): [string, RegExp] => [
      `Component ${component}`,
      new RegExp(`has no Resiliency with unlimited retries for ${app}`),
    ]),
  ],
  [
    'two topics on one durable',
    (cluster) => {
      const component = 'workers-member-internal';
      named(cluster.subscriptions, 'publish-recorder-member-external').spec.pubsubname = component;
      for (const it of subscriberOf(cluster, 'publish-recorder').sidecars[0]!.subscriptions) it.component = component;
      const scopes = Object.keys(workers).map((worker) => `${worker}=member-internal,member-external`);
      set(cluster, component, 'subscriptionScopes', scopes.join(';'));
      set(cluster, component, 'allowedTopics', 'member-internal,member-external');
    },
    [
      'Component workers-member-internal',
      /is used by publish-recorder for .* and .*: a durable consumer has one topic/,
    ],
    [
      'Subscription publish-recorder-member-external',
      /names the Component .* instead of the chart's Component for its topic/,
    ],
  ],
  [
    'a Component without scopes',
    (cluster) => {
      named(cluster.components, LISTENER).scopes = [];
    },
    [`Component ${LISTENER}`, /has no scopes/],
  ],
])('The doctor finds %s', (_, injectFault, ...expected) => expectFindings(injectFault, expected));
