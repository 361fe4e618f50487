import { workers } from '../../../services/workers/workers.ts';
import { finds, LISTENER, look, named, remove, set, subscriberOf, type Trouble, well } from './world.ts';

test.each([{}, { policy: 'constant', maxRetries: -5 }])('deliveries are tried for ever with %j', async (policy) => {
  const world = well();
  named(world.resiliencies, 'family-account').spec.policies.retries = { 'until-answered': policy };
  expect((await look(world)).findings).toEqual([]);
});

/** Through which Component which app hears something. */
const HEARD = [
  ...Object.keys(workers).map((worker) => ['workers-member-internal', worker]),
  ['workers-member-external', 'publish-recorder'],
  ...['member-external', 'family-account-internal', 'family-account-external'].map((topic) => [
    `family-account-${topic}`,
    'family-account',
  ]),
];

test.each<Trouble>([
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
    'a Component that is open to all',
    (world) => {
      named(world.components, LISTENER).scopes = [];
    },
    [`Component ${LISTENER}`, /it has no scopes/],
  ],
])('found: %s', (_, breakIt, ...expected) => finds(breakIt, expected));
