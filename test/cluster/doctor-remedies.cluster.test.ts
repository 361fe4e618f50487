import type { JetStreamManager } from '@nats-io/jetstream';
import { charts } from '../../docs/charts.ts';
import { installChart } from '../../k8s/cluster.ts';
import { withBroker } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { asAdministrator } from './broker.ts';
import {
  asHelm,
  canary,
  cluster,
  expectHealthy,
  findings,
  followRemedy,
  installReadingDefinitions,
  kubectl,
  patch,
  readingDefinitions,
  restart,
  waitForFindings,
  waitForRollout,
} from './diagnosis.ts';

// Each test begins and ends with a healthy system, except those that the next one says.
beforeAll(installReadingDefinitions, 400_000);

const EVENTING = ['components,subscriptions.dapr.io,resiliencies', '--selector=app.kubernetes.io/component=eventing'];

/** Faults that are undone on disposal; those with `hasRemedy` are fixed by its remedy instead. */
const faults: [
  string,
  { inject: (undo: Undo) => Promise<unknown>; stoppedAt: RegExp; found?: RegExp; hasRemedy?: true; logged?: RegExp },
][] = [
  [
    'a missing Subscription',
    {
      async inject(undo) {
        undo(() => restart('family-account'));
        await remove('subscription.dapr.io/family-account-member-external', undo);
        await restart('family-account');
      },
      stoppedAt: /^stopped at: family-account: .*has a Subscription/,
      found: /^Subscription family-account-member-external is missing/,
      hasRemedy: true,
    },
  ],
  [
    'a subscriber denied by scopes',
    {
      inject: (undo) =>
        rescope(
          'family-account-member-external',
          'subscriptionScopes',
          'nobody=member-external',
          'family-account',
          undo,
        ),
      stoppedAt: /^stopped at: family-account: .*named in the scopes of the Component/,
      found:
        /^Subscription family-account-member-external names .*whose subscriptionScopes or allowedTopics do not allow family-account to receive/,
      hasRemedy: true,
    },
  ],
  [
    'a consumer paused at the broker',
    {
      async inject(undo) {
        undo(() => manageBroker(({ consumers }) => consumers.resume(...durable)));
        await manageBroker(({ consumers }) => consumers.pause(...durable, new Date(Date.now() + 600_000)));
      },
      stoppedAt: /^stopped at: family-account: /,
      found: /^Subscription family-account-member-external is stalled: messages were published/,
    },
  ],
  [
    'a broadcaster that is down',
    {
      inject: (undo) => shutDown('external-broadcaster', undo),
      stoppedAt: /^stopped at: external-broadcaster: external-broadcaster has not received the canary/,
      found: /^Deployment external-broadcaster has no pods/,
      hasRemedy: true,
    },
  ],
  [
    'a topic without consumers',
    {
      async inject(undo) {
        await shutDown('external-broadcaster', undo);
        await shutDown('publish-recorder', undo);
      },
      stoppedAt: /^stopped at: topic member-internal: /,
      found: /^Deployment publish-recorder has no pods/,
    },
  ],
  [
    'a Subscription to the wrong topic',
    {
      async inject(undo) {
        const subscription = 'subscription.dapr.io/publish-recorder-member-internal';
        undo(() => restart('publish-recorder'));
        undo(() => patch(subscription, { spec: { topic: 'member-internal' } }, asHelm));
        await patch(subscription, { spec: { topic: 'members' } });
        await restart('publish-recorder');
      },
      stoppedAt: /^stopped at: recorder of member-internal: .*has a Subscription/,
      found: /^Subscription publish-recorder-member-internal is missing/,
      hasRemedy: true,
    },
  ],
  [
    'a publisher denied by scopes',
    {
      inject: (undo) => rescope('member-member-internal', 'publishingScopes', 'nobody=member-internal', 'member', undo),
      stoppedAt: /^stopped at: relay to member-internal: /,
      logged: /this app may not publish to member-internal: check publishingScopes.*member-member-internal.*403/,
    },
  ],
];

test.each(faults)(
  '%s: the canary names the hop, the doctor the cause',
  async (_, { inject, stoppedAt, found, hasRemedy, logged }) => {
    await using repair = new AsyncDisposableStack();
    await inject((undoing) => repair.defer(async () => void (await undoing())));
    expect(await canary()).toMatch(stoppedAt);
    if (found) await waitForFindings(found);
    if (logged) expect(await kubectl('logs', 'deployment/member', '--container=relay')).toMatch(logged);
    if (found && hasRemedy) {
      await followRemedy(found);
      repair.move();
    } else await repair.disposeAsync();
    await eventually(async () => expect(await canary()).toMatch(/All hops of member passed/), { timeoutMs: 120_000 });
  },
  400_000,
);

test('edited and deleted resources are found before they take effect, and fixed by the remedies', async () => {
  await patch('subscription.dapr.io/family-account-member-external', { spec: { pubsubname: 'elsewhere' } });
  const policies = { retries: { 'until-answered': { policy: 'constant', duration: '1s', maxRetries: 3 } } };
  await patch('resiliency.dapr.io/workers', { spec: { policies } });
  await kubectl('delete', 'component.dapr.io/member-member-internal');
  const wrong = [
    /^Subscription family-account-member-external names the Component elsewhere, which is missing/,
    /^Component workers-member-internal has no Resiliency with unlimited retries for external-broadcaster/,
    /^Component member-member-internal is missing for member: its running sidecars still have it/,
  ];
  await waitForFindings(...wrong);
  expect(await canary()).toMatch(/All hops of member passed/);
  // Each system's doctor prints one remedy for all its findings.
  for (const it of wrong.slice(0, 2)) await followRemedy(it);
  expect((await findings()).filter((it) => wrong.some((was) => was.test(it)))).toEqual([]);
  // Helm would leave behind resources that it does not own.
  const owners = '{range .items[*]}{.metadata.annotations.meta\\.helm\\.sh/release-name} {end}';
  const resources = await kubectl('get', ...EVENTING, `--output=jsonpath=${owners}`);
  expect([...new Set(resources.trim().split(' '))].sort()).toEqual(['family-account', 'member', 'workers']);
  expect(await canary()).toMatch(/All hops of member passed/);
  for (const app of ['member', 'external-broadcaster', 'family-account']) await restart(app);
  await expectHealthy();
}, 400_000);

test('resources fixed by a remedy are still owned by Helm, so an upgrade changes them', async () => {
  const upgrade = (chart: string) =>
    installChart(cluster.shell, chart, ...readingDefinitions(chart), '--set', 'commonLabels.repaired=yes');
  await Promise.all(charts.map(upgrade));
  const each = async (field: string) =>
    (await kubectl('get', ...EVENTING, `--output=jsonpath={.items[*].metadata.${field}}`)).split(' ');
  expect(await each('labels.repaired')).toEqual((await each('name')).map(() => 'yes'));
  const { spec } = JSON.parse(await kubectl('get', 'resiliency.dapr.io/workers', '--output=json'));
  expect(spec.policies.retries['until-answered'].maxRetries).toBe(-1);
}, 600_000);

test('an added field and a wrong annotation are fixed by their remedies', async () => {
  await patch('subscription.dapr.io/family-account-member-external', { spec: { deadLetterTopic: 'elsewhere' } });
  const annotations = { 'dapr.io/enable-app-health-check': 'false' };
  await patch('deployment/other-member-logout', { spec: { template: { metadata: { annotations } } } });
  await waitForRollout('other-member-logout');
  const added = /^Subscription family-account-member-external has the field deadLetterTopic/;
  const annotated = /^Deployment other-member-logout dapr.io\/enable-app-health-check is not "true"/;
  await waitForFindings(added, annotated);
  await followRemedy(added);
  await followRemedy(annotated);
  await waitForRollout('other-member-logout');
  await expectHealthy();
}, 400_000);

test('the doctor finds nothing once all faults are fixed, and no event is lost', expectHealthy, 300_000);

type Undo = (undoing: () => Promise<unknown>) => void;

/** Scales an app to zero until undone. */
async function shutDown(app: string, undo: Undo): Promise<void> {
  undo(() => waitForRollout(app));
  undo(() => kubectl('scale', `deployment/${app}`, '--replicas=1'));
  await kubectl('scale', `deployment/${app}`, '--replicas=0');
  const pods = `--selector=app.kubernetes.io/name=${app}`;
  await kubectl('wait', '--for=delete', 'pod', pods, '--timeout=90s');
}

/** Deletes a resource until undone. */
async function remove(what: string, undo: Undo): Promise<void> {
  const { metadata, ...rest } = JSON.parse(await kubectl('get', what, '--output=json'));
  const { name, namespace, labels, annotations } = metadata;
  const again = JSON.stringify({ ...rest, metadata: { name, namespace, labels, annotations } });
  const apply = ['kubectl', 'apply', '--server-side', asHelm, '--filename', '-'];
  undo(() => cluster.shell.run(apply, { input: again }));
  await kubectl('delete', what);
}

/** Changes the scopes of a Component until undone, and restarts `app`, which reads them. */
async function rescope(component: string, field: string, value: string, app: string, undo: Undo): Promise<void> {
  const what = `component.dapr.io/${component}`;
  const { spec } = JSON.parse(await kubectl('get', what, '--output=json'));
  const metadata = spec.metadata.map((it: { name: string }) => (it.name === field ? { name: field, value } : it));
  undo(() => restart(app));
  undo(() => patch(what, { spec: { metadata: spec.metadata } }, asHelm));
  await patch(what, { spec: { metadata } });
  await restart(app);
}

/** The stream and consumer from which family-account receives the events of members. */
const durable = ['member-external', 'family-account-member-external'] as const;

const manageBroker = (act: (manager: JetStreamManager) => Promise<unknown>) =>
  asAdministrator(cluster.shell, (url) => withBroker(url, act));
