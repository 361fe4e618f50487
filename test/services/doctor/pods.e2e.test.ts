import { print } from '../../../services/doctor/report.ts';
import { annotate, finds, look, NOW, named, remove, subscriberOf, type Trouble, well } from './world.ts';

test('nothing is found where all is as the charts make it and everybody has heard', async () => {
  const found = await look(well());
  expect(found).toEqual({ findings: [], unseen: [] });
  expect(print(found)).toBe('Nothing is found that keeps events from being heard.');
});

const LONG_AGO = '2020-01-01T00:00:00.000Z';

test.each<Trouble>([
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
])('found: %s', (_, breakIt, ...expected) => finds(breakIt, expected));

test('a pod that is about to go is nobody’s trouble', async () => {
  const world = well();
  const pod = structuredClone(named(world.pods, 'external-broadcaster-7f-x2'));
  world.pods.push({
    ...pod,
    metadata: { ...pod.metadata, name: 'external-broadcaster-6e-w1', deletionTimestamp: NOW() },
  });
  expect((await look(world)).findings).toEqual([]);
  delete world.pods.at(-1)!.metadata.deletionTimestamp;
  expect((await look(world)).findings).toMatchObject([{ where: 'Pod external-broadcaster-6e-w1' }]);
});

test('a pod that has just become ready may not have been heard of yet', async () => {
  const world = well();
  subscriberOf(world, 'member').sidecars.pop();
  const [ready] = named(world.pods, 'member-7f-x2').status.conditions;
  ready.lastTransitionTime = NOW();
  expect((await look(world)).findings).toEqual([]);
  ready.lastTransitionTime = new Date(Date.now() - 20_000).toISOString();
  expect((await look(world)).findings).toMatchObject([{ what: 'its sidecar has not been heard of' }]);
});
