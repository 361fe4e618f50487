import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { JetStreamManager } from '@nats-io/jetstream';
import { charts } from '../../docs/charts.ts';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { openApiServer, openDemoTarget } from '../../k8s/port-forward.ts';
import type { Finding } from '../../ops/doctor/finding.ts';
import { diagnose } from '../../ops/doctor/report.ts';
import { workers } from '../../services/workers/workers.ts';
import { withBroker } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { asAdministrator } from './broker.ts';
import { expectInvariants } from './invariants.ts';

// Each test begins and ends with a healthy system.
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
  for (const chart of ['member', 'family-account'])
    await installChart(cluster.shell, chart, ...readingDefinitions(chart));
}, 400_000);
const readingDefinitions = (chart: string) => (chart === 'workers' ? [] : ['--set', 'doctor.readDefinitions=true']);

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
const waitForRollout = (app: string) => kubectl('rollout', 'status', `deployment/${app}`, '--timeout=120s');
const restart = async (app: string) => {
  await kubectl('rollout', 'restart', `deployment/${app}`);
  await waitForRollout(app);
};
const helmTest = (release: string) =>
  cluster.shell.run(['helm', 'test', release, '--namespace', NAMESPACE, '--logs', '--timeout', '3m']);

/** Sends a canary from member to family-account. @returns the last line of the command */
async function canary(): Promise<string> {
  const env = 'API_URL=http://127.0.0.1:8083 TIMEOUT_SECONDS=8';
  const command = `${env} node ops/canary/main.ts member 2>&1 | tail -1`;
  return (await kubectl('exec', 'deployment/family-account', '--container', 'app', '--', 'sh', '-c', command)).trim();
}

/** Returns the doctor's findings about both systems. */
async function diagnoseBoth(): Promise<Finding[]> {
  await using target = await openDemoTarget(cluster.shell, NAMESPACE);
  await using kubernetes = await openApiServer(cluster.shell);
  const options = { kubernetes, namespace: NAMESPACE };
  const both = await Promise.all([
    diagnose({
      ...options,
      apiUrl: target.memberOperationsUrl,
      operatorToken: target.memberOperatorToken,
      apps: ['member', ...Object.keys(workers)],
    }),
    diagnose({
      ...options,
      apiUrl: target.familyAccountOperationsUrl,
      operatorToken: target.familyAccountOperatorToken,
      apps: ['family-account'],
    }),
  ]);
  expect(both.flatMap(({ unseen }) => unseen).filter((it) => !/has not received a message/.test(it))).toEqual([]);
  return both.flatMap(({ findings }) => findings);
}
const textOf = ({ where, what }: Finding) => `${where} ${what}`;
const findings = async () => (await diagnoseBoth()).map(textOf);

/** Runs the doctor's remedy for a finding, exactly as printed. */
async function applyRemedy(found: RegExp): Promise<void> {
  const { remedy } = (await diagnoseBoth()).find((it) => found.test(textOf(it)))!;
  await using own = await mkdtempDisposable(join(tmpdir(), 'operator-'));
  const env = { KUBECONFIG: join(own.path, 'kubeconfig') };
  await writeFile(env.KUBECONFIG, await cluster.shell.kubectl('config', 'view', '--raw', '--flatten'));
  const here = `kubectl config set-context --current --namespace ${NAMESPACE}`;
  await cluster.shell.run(['bash', '-euo', 'pipefail', '-c', `${here}\n${remedy}`], { env });
}
const waitForFindings = (...expected: RegExp[]) =>
  eventually(
    async () => {
      const matching = expected.map((it) => expect.stringMatching(it));
      expect(await findings()).toEqual(expect.arrayContaining(matching));
    },
    { timeoutMs: 120_000 },
  );
const expectHealthy = async () => {
  await eventually(async () => expect(await findings()).toEqual([]), { timeoutMs: 120_000 });
  await eventually(async () => expect(await canary()).toMatch(/All hops of member passed/), { timeoutMs: 120_000 });
  await expectInvariants(cluster.shell);
};

test('helm test prints each hop of a canary, for both releases', async () => {
  expect(await helmTest('member')).toMatch(/row.*recorder of member-external.*All hops of member passed/s);
  expect(await helmTest('family-account')).toMatch(/family-account \(.*All hops of family-account and member passed/s);
}, 300_000);

test('the doctor’s Job finds nothing in a healthy system', async () => {
  for (const system of ['member', 'family-account']) {
    const job = `diagnose-${system}`;
    await kubectl('create', 'job', job, `--from=cronjob/${system}-doctor`);
    try {
      await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=90s');
      const [verdict, ...others] = (await kubectl('logs', `job/${job}`)).trimEnd().split('\n');
      expect(verdict).toBe('No problems found.');
      // A canary may have been published a moment ago.
      for (const other of others) expect(other).toMatch(/has not received a message published/);
    } finally {
      await kubectl('delete', 'job', job);
    }
  }
}, 240_000);

const EVENTING = ['components,subscriptions.dapr.io,resiliencies', '--selector=app.kubernetes.io/component=eventing'];

/** Faults that are undone on disposal; those with `hasRemedy` are fixed by the doctor's remedy instead. */
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
      await applyRemedy(found);
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
  for (const it of wrong.slice(0, 2)) await applyRemedy(it);
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

test('the doctor finds nothing once all faults are fixed, and no event is lost', expectHealthy, 300_000);

test('helm test of a release without its Secret fails and names the API', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await installChart(cluster.shell, 'family-account', ...readingDefinitions('family-account'));
    await expectHealthy();
  });
  await kubectl('scale', 'deployment/family-account', '--replicas=0');
  const broken = installChart(
    cluster.shell,
    'family-account',
    '--set',
    'dapr.apiTokenSecret=missing',
    '--timeout',
    '20s',
  );
  await expect(broken).rejects.toThrow();
  await expect(helmTest('family-account')).rejects.toThrow(/stopped at: API http:\/\/family-account-operations:8083/);
}, 600_000);

test('pods that start without the injector stay unready, and the doctor names them', async () => {
  const injector = (...args: string[]) => cluster.shell.kubectl('--namespace', 'dapr-system', ...args);
  const name = 'deployment/dapr-sidecar-injector';
  const pods = ['--selector=app.kubernetes.io/name=other-device-logout'];
  const replicas = await injector('get', name, '--output=jsonpath={.spec.replicas}');
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await injector('scale', name, `--replicas=${replicas.trim()}`);
    await injector('rollout', 'status', name, '--timeout=120s');
    await eventually(
      async () => {
        // It may be reachable only a moment after it is ready; a pod created before gets no sidecar.
        await kubectl('delete', 'pod', ...pods, '--now');
        expect(await kubectl('get', 'pod', ...pods, '--output=jsonpath={.items[*].spec.containers[*].name}')).toMatch(
          /daprd/,
        );
      },
      { timeoutMs: 60_000 },
    );
    await waitForRollout('other-device-logout');
    await expectHealthy();
  });
  await injector('scale', name, '--replicas=0');
  await injector('wait', '--for=delete', 'pod', '--selector=app=dapr-sidecar-injector', '--timeout=90s');
  await kubectl('delete', 'pod', ...pods, '--now');
  await waitForFindings(
    /^Pod other-device-logout-.* has no sidecar/,
    /^Deployment other-device-logout has no ready pod/,
  );
  // No other app is affected.
  expect(await canary()).toMatch(/All hops of member passed/);
  await delay(5_000);
  await expect(kubectl('rollout', 'status', 'deployment/other-device-logout', '--timeout=1s')).rejects.toThrow();
}, 400_000);

type Undo = (undoing: () => Promise<unknown>) => void;

/** As Helm, otherwise the next upgrade would conflict with another owner of the fields. */
const asHelm = '--field-manager=helm';
const patch = (what: string, change: object, ...as: string[]) =>
  kubectl('patch', what, '--type=merge', ...as, '--patch', JSON.stringify(change));

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
