import { print } from '../../../ops/doctor/report.ts';
import {
  expectFindings,
  type Fault,
  healthyCluster,
  LISTENER,
  NOW,
  named,
  remove,
  runDoctor,
  set,
  subscriberOf,
} from './fake-cluster.ts';

test('The doctor accepts defaults that an older Subscription version adds', async () => {
  const cluster = healthyCluster();
  const defaults = { bulkSubscribe: { enabled: false }, deadLetterTopic: '' };
  Object.assign(named(cluster.subscriptions, LISTENER).spec, defaults);
  expect((await runDoctor(cluster)).findings).toEqual([]);
});

test.each<Fault>([
  [
    'a stalled subscription of a ready app',
    (cluster) => {
      subscriberOf(cluster, 'external-broadcaster').topics[0]!.stalledSince = NOW();
    },
    ['Subscription external-broadcaster-member-internal', /is stalled: .* external-broadcaster received none since/],
  ],
  [
    'a missing Subscription',
    (cluster) => remove(cluster.subscriptions, LISTENER),
    [
      `Subscription ${LISTENER}`,
      /is missing: family-account receives member-external only until its pods are replaced/,
    ],
  ],
  [
    'a missing Subscription, with pods started without it',
    (cluster) => {
      remove(cluster.subscriptions, LISTENER);
      const [sidecar] = subscriberOf(cluster, 'family-account').sidecars;
      sidecar!.subscriptions = sidecar!.subscriptions.filter(({ topic }) => topic !== 'member-external');
    },
    [`Subscription ${LISTENER}`, /is missing: family-account does not receive member-external/],
  ],
  [
    'a Subscription to another topic',
    (cluster) => {
      named(cluster.subscriptions, LISTENER).spec.topic = 'members';
    },
    ['Pod family-account-7f-x2', /has not loaded the Subscription family-account-member-external/],
    [`Subscription ${LISTENER}`, /is missing/],
    [`Subscription ${LISTENER}`, /do not allow family-account to receive members/],
    [`Subscription ${LISTENER}`, /is delivered to \/events\/member-external instead of \/events\/members/],
    [`Subscription ${LISTENER}`, /names the Component .* instead of the chart's Component for its topic/],
    [`Component ${LISTENER}`, /^durableName is "{appID}-member-external", must contain members/],
  ],
  [
    'a Subscription through a missing Component',
    (cluster) => remove(cluster.components, LISTENER),
    [`Subscription ${LISTENER}`, /names the Component .*, which is missing/],
  ],
  [
    'a Subscription through a missing Component that other apps do not use',
    (cluster) => remove(cluster.components, 'workers-member-external'),
    ['Subscription publish-recorder-member-external', /names the Component .*, which is missing/],
  ],
  [
    'a Subscription without scopes through a missing Component',
    (cluster) => {
      named(cluster.subscriptions, LISTENER).scopes = [];
      remove(cluster.components, LISTENER);
    },
    [`Subscription ${LISTENER}`, /^has no scopes/],
  ],
  [
    'a Subscription through a Component whose scopes lack the app',
    (cluster) => {
      named(cluster.components, LISTENER).scopes = ['another-app'];
    },
    [`Subscription ${LISTENER}`, /whose scopes do not include family-account/],
  ],
  [
    'a topic that subscriptionScopes deny to the app',
    (cluster) => set(cluster, LISTENER, 'subscriptionScopes', 'another-app=member-external'),
    [
      `Subscription ${LISTENER}`,
      /whose subscriptionScopes or allowedTopics do not allow family-account to receive member-external/,
    ],
  ],
  [
    'a topic that the app’s subscriptionScopes omit',
    (cluster) => set(cluster, LISTENER, 'subscriptionScopes', 'family-account=another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes or allowedTopics do not allow/],
  ],
  [
    'a Subscription that is not raw, as left by an older definition',
    (cluster) => {
      named(cluster.subscriptions, LISTENER).spec.metadata = {};
    },
    [`Subscription ${LISTENER}`, /is not raw/],
  ],
  ...[
    ['another path', { routes: { default: '/elsewhere' } }, /^is delivered to \/elsewhere instead of/] as const,
    [
      'a dead-letter topic',
      { deadLetterTopic: 'elsewhere' },
      /^has the field deadLetterTopic, which no chart sets/,
    ] as const,
    [
      'bulk deliveries',
      { bulkSubscribe: { enabled: true } },
      /^has the field bulkSubscribe, which no chart sets/,
    ] as const,
  ].map(
    ([what, spec, found]): Fault => [
      `a Subscription with ${what}`,
      (cluster) => Object.assign(named(cluster.subscriptions, LISTENER).spec, spec),
      [`Subscription ${LISTENER}`, found],
    ],
  ),
  [
    'a topic that allowedTopics omit',
    (cluster) => set(cluster, LISTENER, 'allowedTopics', 'another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes or allowedTopics do not allow family-account to receive/],
  ],
  [
    'a Subscription through a foreign Component',
    (cluster) => {
      const component = structuredClone(named(cluster.components, LISTENER));
      cluster.components.push({ ...component, metadata: { name: 'members' } });
      cluster.resiliencies.push({
        metadata: { name: 'members' },
        scopes: ['family-account'],
        spec: {
          policies: { retries: { always: { maxRetries: -1 } } },
          targets: { components: { members: { inbound: { retry: 'always' } } } },
        },
      });
      named(cluster.subscriptions, LISTENER).spec.pubsubname = 'members';
      const [sidecar] = subscriberOf(cluster, 'family-account').sidecars;
      sidecar!.components.push({ name: 'members', type: 'pubsub.jetstream' });
      for (const it of sidecar!.subscriptions) if (it.topic === 'member-external') it.component = 'members';
    },
    [`Subscription ${LISTENER}`, /^names the Component members instead of the chart's Component for its topic/],
  ],
  [
    'a Subscription that is not raw and has no scopes',
    (cluster) => {
      Object.assign(named(cluster.subscriptions, LISTENER), { scopes: [] }).spec.metadata = {};
    },
    [`Subscription ${LISTENER}`, /^is not raw/],
    [`Subscription ${LISTENER}`, /^has no scopes: it applies to every app in the namespace/],
  ],
])('The doctor finds %s', (_, injectFault, ...expected) => expectFindings(injectFault, expected));

test('The doctor reports a possibly undelivered message as unknown, not as a finding', async () => {
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();
  const cluster = healthyCluster();
  const [topic] = subscriberOf(cluster, 'external-broadcaster').topics;
  topic!.pendingSince = ago(2);
  expect(await runDoctor(cluster)).toEqual({ findings: [], unseen: [] });
  topic!.pendingSince = ago(20);
  const found = await runDoctor(cluster);
  expect(print(found)).toMatch(
    /^No problems found\.\nexternal-broadcaster has not received a message published to member-internal 2\d s ago: run/,
  );
  topic!.pendingSince = ago(6_000);
  expect((await runDoctor(cluster)).unseen).toEqual([]);
  topic!.pendingSince = ago(20);
  topic!.stalledSince = NOW();
  const { findings, unseen } = await runDoctor(cluster);
  expect([findings.length, unseen]).toEqual([1, []]);
});
