import { print } from '../../../services/doctor/report.ts';
import { finds, LISTENER, look, NOW, named, remove, set, subscriberOf, type Trouble, well } from './world.ts';

test('nothing is found of what Dapr’s older version of a Subscription says of itself', async () => {
  const world = well();
  Object.assign(named(world.subscriptions, LISTENER).spec, { bulkSubscribe: { enabled: false }, deadLetterTopic: '' });
  expect((await look(world)).findings).toEqual([]);
});

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
    'a topic that is not allowed',
    (world) => set(world, LISTENER, 'allowedTopics', 'another-topic'),
    [`Subscription ${LISTENER}`, /whose subscriptionScopes, or allowedTopics, do not let family-account hear/],
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
])('found: %s', (_, breakIt, ...expected) => finds(breakIt, expected));

test('of what may be on its way it is said that it is not known yet', async () => {
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString();
  const world = well();
  const [topic] = subscriberOf(world, 'external-broadcaster').topics;
  topic!.unheardSince = ago(2);
  expect(await look(world)).toEqual({ findings: [], unseen: [] });
  topic!.unheardSince = ago(20);
  const found = await look(world);
  expect(print(found)).toMatch(
    /^Nothing is found .*\nexternal-broadcaster has not heard yet what was published to member-internal 2\d s ago: look/,
  );
  topic!.unheardSince = ago(6_000);
  expect((await look(world)).unseen).toEqual([]);
  topic!.unheardSince = ago(20);
  topic!.missedSince = NOW();
  const { findings, unseen } = await look(world);
  expect([findings.length, unseen]).toEqual([1, []]);
});
