import { print } from '../../../ops/doctor/report.ts';
import {
  annotate,
  expectFindings,
  type Fault,
  healthyCluster,
  NOW,
  named,
  remove,
  runDoctor,
  subscriberOf,
} from './fake-cluster.ts';

test('The doctor finds nothing in a healthy cluster', async () => {
  const diagnosis = await runDoctor(healthyCluster());
  expect(diagnosis).toEqual({ findings: [], unseen: [] });
  expect(print(diagnosis)).toBe('No problems found.');
});

const LONG_AGO = '2020-01-01T00:00:00.000Z';

test.each<Fault>([
  [
    'a subscription that no Subscription declares',
    (cluster) => {
      const { subscriptions } = subscriberOf(cluster, 'publish-recorder').sidecars[0]!;
      subscriptions.push({ component: 'workers-member-internal', topic: 'another-topic' });
    },
    ['Pod publish-recorder-7f-x2', /receives another-topic through workers-member-internal without a Subscription/],
  ],
  [
    'a subscription through another Component than the declared one',
    (cluster) => {
      subscriberOf(cluster, 'family-account').sidecars[0]!.subscriptions[0]!.component = 'pubsub';
    },
    ['Pod family-account-7f-x2', /has not loaded the Subscription family-account-/],
    ['Pod family-account-7f-x2', /through pubsub without a Subscription/],
  ],
  [
    'a sidecar that is older than a Component',
    (cluster) => subscriberOf(cluster, 'member').sidecars[0]!.components.pop(),
    ['Pod member-7f-x2', /has not loaded the Component member-member-/],
  ],
  [
    'a sidecar that is older than a Subscription',
    (cluster) => subscriberOf(cluster, 'other-device-logout').sidecars[0]!.subscriptions.pop(),
    ['Pod other-device-logout-7f-x2', /has not loaded the Subscription other-device-logout-member-internal/],
  ],
  [
    'a sidecar that has stopped reporting',
    (cluster) => {
      subscriberOf(cluster, 'member').sidecars[0]!.reportedAt = LONG_AGO;
    },
    ['Pod member-7f-x2', /sent its last report at 2020/],
  ],
  [
    'a sidecar that never reported',
    (cluster) => subscriberOf(cluster, 'member').sidecars.pop(),
    ['Pod member-7f-x2', /has sent no report/],
  ],
  [
    'a pod without a sidecar',
    (cluster) => named(cluster.pods, 'member-7f-x2').spec.containers.pop(),
    ['Pod member-7f-x2', /has no sidecar: it started while the sidecar injector was down/],
  ],
  [
    'an app that is scaled to zero',
    (cluster) => {
      named(cluster.deployments, 'external-broadcaster').spec.replicas = 0;
    },
    ['Deployment external-broadcaster', /has no pods: its events wait/],
  ],
  [
    'an app whose pods are not ready',
    (cluster) => {
      named(cluster.deployments, 'external-broadcaster').status.readyReplicas = 0;
    },
    ['Deployment external-broadcaster', /has no ready pod/],
  ],
  [
    'an app that is not installed',
    (cluster) => remove(cluster.deployments, 'external-broadcaster'),
    ['Deployment external-broadcaster', /is missing/],
  ],
  [
    'a sidecar without app health checks',
    (cluster) => annotate(cluster, 'external-broadcaster', 'dapr.io/enable-app-health-check', 'false'),
    ['Deployment external-broadcaster', /^dapr.io\/enable-app-health-check is not "true"/],
  ],
  [
    'a sidecar that may end before its app',
    (cluster) => annotate(cluster, 'external-broadcaster', 'dapr.io/block-shutdown-duration', '0s'),
    ['Deployment external-broadcaster', /^dapr.io\/block-shutdown-duration is not set/],
  ],
  [
    'a sidecar that loads programmatic subscriptions',
    (cluster) => annotate(cluster, 'external-broadcaster', 'dapr.io/disable-init-endpoints', 'config'),
    ['Deployment external-broadcaster', /^dapr.io\/disable-init-endpoints does not contain "subscribe"/],
  ],
])('The doctor finds %s', (_, injectFault, ...expected) => expectFindings(injectFault, expected));

test('The doctor ignores a terminating pod', async () => {
  const cluster = healthyCluster();
  const pod = structuredClone(named(cluster.pods, 'external-broadcaster-7f-x2'));
  cluster.pods.push({
    ...pod,
    metadata: { ...pod.metadata, name: 'external-broadcaster-6e-w1', deletionTimestamp: NOW() },
  });
  expect((await runDoctor(cluster)).findings).toEqual([]);
  delete cluster.pods.at(-1)!.metadata.deletionTimestamp;
  expect((await runDoctor(cluster)).findings).toMatchObject([{ where: 'Pod external-broadcaster-6e-w1' }]);
});

test('The doctor gives a newly ready pod time to report', async () => {
  const cluster = healthyCluster();
  subscriberOf(cluster, 'member').sidecars.pop();
  const [ready] = named(cluster.pods, 'member-7f-x2').status.conditions;
  ready.lastTransitionTime = NOW();
  expect((await runDoctor(cluster)).findings).toEqual([]);
  ready.lastTransitionTime = new Date(Date.now() - 20_000).toISOString();
  expect((await runDoctor(cluster)).findings).toMatchObject([{ what: 'its sidecar has sent no report' }]);
});
