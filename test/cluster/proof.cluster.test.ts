import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { JetStreamManager } from '@nats-io/jetstream';
import { charts } from '../../docs/charts.ts';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { forward, openApiServer, openStage } from '../../k8s/stage.ts';
import type { Finding } from '../../services/doctor/finding.ts';
import { diagnose } from '../../services/doctor/report.ts';
import { workers } from '../../services/workers/workers.ts';
import { atBroker as connected } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { invariants } from './invariants.ts';

// Each test finds everything well, and leaves it so.
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
  for (const chart of ['member', 'family-account']) await installChart(cluster.shell, chart, ...seeing(chart));
}, 400_000);
const seeing = (chart: string) => (chart === 'workers' ? [] : ['--set', 'doctor.readDefinitions=true']);

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
const settled = (app: string) => kubectl('rollout', 'status', `deployment/${app}`, '--timeout=120s');
const restart = async (app: string) => {
  await kubectl('rollout', 'restart', `deployment/${app}`);
  await settled(app);
};
const helmTest = (release: string) =>
  cluster.shell.run(['helm', 'test', release, '--namespace', NAMESPACE, '--logs', '--timeout', '3m']);

/** What a canary of the member system's comes to on its way to family-account: the last word of the command. */
async function canary(): Promise<string> {
  const env = 'API_URL=http://127.0.0.1:8080 TIMEOUT_SECONDS=8';
  const command = `${env} node services/canary/main.ts member 2>&1 | tail -1`;
  return (await kubectl('exec', 'deployment/family-account', '--container', 'app', '--', 'sh', '-c', command)).trim();
}

/** What the doctor finds. */
async function look(): Promise<Finding[]> {
  await using stage = await openStage(cluster.shell, NAMESPACE);
  await using kubernetes = await openApiServer(cluster.shell);
  const options = { kubernetes, namespace: NAMESPACE };
  const both = await Promise.all([
    diagnose({
      ...options,
      apiUrl: stage.memberUrl,
      operatorToken: stage.memberOperatorToken,
      apps: ['member', ...Object.keys(workers)],
    }),
    diagnose({
      ...options,
      apiUrl: stage.familyAccountUrl,
      operatorToken: stage.familyAccountOperatorToken,
      apps: ['family-account'],
    }),
  ]);
  expect(both.flatMap(({ unseen }) => unseen).filter((it) => !/has not heard yet/.test(it))).toEqual([]);
  return both.flatMap(({ findings }) => findings);
}
const inWords = ({ where, what }: Finding) => `${where} ${what}`;
const findings = async () => (await look()).map(inWords);

/** Types what the doctor says about something, as it says it. */
async function doAsTold(found: RegExp): Promise<void> {
  const { remedy } = (await look()).find((it) => found.test(inWords(it)))!;
  await using own = await mkdtempDisposable(join(tmpdir(), 'operator-'));
  const env = { KUBECONFIG: join(own.path, 'kubeconfig') };
  await writeFile(env.KUBECONFIG, await cluster.shell.kubectl('config', 'view', '--raw', '--flatten'));
  const here = `kubectl config set-context --current --namespace ${NAMESPACE}`;
  await cluster.shell.run(['bash', '-euo', 'pipefail', '-c', `${here}\n${remedy}`], { env });
}
const foundInTheEnd = (...wanted: RegExp[]) =>
  eventually(
    async () => expect(await findings()).toEqual(expect.arrayContaining(wanted.map((it) => expect.stringMatching(it)))),
    { timeoutMs: 120_000 },
  );
const allIsWell = async () => {
  await eventually(async () => expect(await findings()).toEqual([]), { timeoutMs: 120_000 });
  await eventually(async () => expect(await canary()).toMatch(/All hops of member are well/), { timeoutMs: 120_000 });
  await invariants(cluster.shell);
};

test('helm test shows each hop of a canary, for either release', async () => {
  expect(await helmTest('member')).toMatch(/row.*recorder of member-external.*All hops of member are well/s);
  expect(await helmTest('family-account')).toMatch(
    /family-account \(.*All hops of family-account and member are well/s,
  );
}, 300_000);

test('the doctor’s Job finds nothing where nothing is', async () => {
  for (const system of ['member', 'family-account']) {
    const job = `look-${system}`;
    await kubectl('create', 'job', job, `--from=cronjob/${system}-doctor`);
    try {
      await kubectl('wait', '--for=condition=complete', `job/${job}`, '--timeout=90s');
      const [verdict, ...others] = (await kubectl('logs', `job/${job}`)).trimEnd().split('\n');
      expect(verdict).toBe('Nothing is found that keeps events from being heard.');
      // A canary may have come a moment ago.
      for (const other of others) expect(other).toMatch(/has not heard yet what was published/);
    } finally {
      await kubectl('delete', 'job', job);
    }
  }
}, 240_000);

const EVENTING = ['components,subscriptions.dapr.io,resiliencies', '--selector=app.kubernetes.io/component=eventing'];

/** Each undoes what it did, and whatever else there is to do then, when it is disposed of; some are mended as the doctor says. */
const breaks: [
  string,
  { plant: (heal: Heal) => Promise<unknown>; stoppedAt: RegExp; found?: RegExp; isToldHow?: true; logged?: RegExp },
][] = [
  [
    'a Subscription that is missing',
    {
      async plant(heal) {
        heal(() => restart('family-account'));
        await remove('subscription.dapr.io/family-account-member-external', heal);
        await restart('family-account');
      },
      stoppedAt: /^stopped at: family-account: .*has it a Subscription/,
      found: /^Subscription family-account-member-external is not there/,
      isToldHow: true,
    },
  ],
  [
    'a subscriber that no scope lets hear',
    {
      plant: (heal) =>
        rescope(
          'family-account-member-external',
          'subscriptionScopes',
          'nobody=member-external',
          'family-account',
          heal,
        ),
      stoppedAt: /^stopped at: family-account: .*do the scopes of the Component name it/,
      found:
        /^Subscription family-account-member-external names .*whose subscriptionScopes, or allowedTopics, do not let family-account hear/,
      isToldHow: true,
    },
  ],
  [
    'a subscriber to whom the broker delivers nothing',
    {
      async plant(heal) {
        heal(() => atBroker(({ consumers }) => consumers.resume(...durable)));
        await atBroker(({ consumers }) => consumers.pause(...durable, new Date(Date.now() + 600_000)));
      },
      stoppedAt: /^stopped at: family-account: /,
      found: /^Subscription family-account-member-external is silent: something was published/,
    },
  ],
  [
    'a broadcaster that is down',
    {
      plant: (heal) => shutDown('external-broadcaster', heal),
      stoppedAt: /^stopped at: external-broadcaster: external-broadcaster has not heard it/,
      found: /^Deployment external-broadcaster has no pods/,
    },
  ],
  [
    'a topic that nobody hears',
    {
      async plant(heal) {
        await shutDown('external-broadcaster', heal);
        await shutDown('publish-recorder', heal);
      },
      stoppedAt: /^stopped at: topic member-internal: /,
      found: /^Deployment publish-recorder has no pods/,
    },
  ],
  [
    'a Subscription to the wrong topic',
    {
      async plant(heal) {
        const subscription = 'subscription.dapr.io/publish-recorder-member-internal';
        heal(() => restart('publish-recorder'));
        heal(() => patch(subscription, { spec: { topic: 'member-internal' } }, asHelm));
        await patch(subscription, { spec: { topic: 'members' } });
        await restart('publish-recorder');
      },
      stoppedAt: /^stopped at: recorder of member-internal: .*has it a Subscription/,
      found: /^Subscription publish-recorder-member-internal is not there/,
      isToldHow: true,
    },
  ],
  [
    'a publisher that no scope lets publish',
    {
      plant: (heal) => rescope('member-member-internal', 'publishingScopes', 'nobody=member-internal', 'member', heal),
      stoppedAt: /^stopped at: relay to member-internal: /,
      logged: /this app may not publish to member-internal: see publishingScopes.*member-member-internal.*403/,
    },
  ],
];

test.each(breaks)(
  '%s: a canary names the hop that it does not come by, and the doctor what is the matter',
  async (_, { plant, stoppedAt, found, isToldHow, logged }) => {
    await using repair = new AsyncDisposableStack();
    await plant((how) => repair.defer(async () => void (await how())));
    expect(await canary()).toMatch(stoppedAt);
    if (found) await foundInTheEnd(found);
    if (logged) expect(await kubectl('logs', 'deployment/member', '--container=relay')).toMatch(logged);
    if (found && isToldHow) {
      await doAsTold(found);
      repair.move();
    } else await repair.disposeAsync();
    await eventually(async () => expect(await canary()).toMatch(/All hops of member are well/), { timeoutMs: 120_000 });
  },
  400_000,
);

test('what is edited or gone, and heard yet, is found in time, and mended as the doctor says without anybody getting deaf', async () => {
  await patch('subscription.dapr.io/family-account-member-external', { spec: { pubsubname: 'elsewhere' } });
  const policies = { retries: { 'until-answered': { policy: 'constant', duration: '1s', maxRetries: 3 } } };
  await patch('resiliency.dapr.io/workers', { spec: { policies } });
  await kubectl('delete', 'component.dapr.io/member-member-internal');
  const wrong = [
    /^Subscription family-account-member-external names the Component elsewhere, which is not there/,
    /^Component workers-member-internal no Resiliency tries its deliveries to external-broadcaster for ever/,
    /^Component member-member-internal is not there for member: its sidecars have it until/,
  ];
  await foundInTheEnd(...wrong);
  expect(await canary()).toMatch(/All hops of member are well/);
  // Each system's doctor says once how all that it has found is mended.
  for (const it of wrong.slice(0, 2)) await doAsTold(it);
  expect((await findings()).filter((it) => wrong.some((was) => was.test(it)))).toEqual([]);
  // Helm would leave behind what is not its own.
  const owners = '{range .items[*]}{.metadata.annotations.meta\\.helm\\.sh/release-name} {end}';
  const resources = await kubectl('get', ...EVENTING, `--output=jsonpath=${owners}`);
  expect([...new Set(resources.trim().split(' '))].sort()).toEqual(['family-account', 'member', 'workers']);
  expect(await canary()).toMatch(/All hops of member are well/);
  for (const app of ['member', 'external-broadcaster', 'family-account']) await restart(app);
  await allIsWell();
}, 400_000);

test('what was mended so is Helm’s as before: an upgrade changes it', async () => {
  const upgrade = (chart: string) =>
    installChart(cluster.shell, chart, ...seeing(chart), '--set', 'commonLabels.mended=yes');
  await Promise.all(charts.map(upgrade));
  const each = async (field: string) =>
    (await kubectl('get', ...EVENTING, `--output=jsonpath={.items[*].metadata.${field}}`)).split(' ');
  expect(await each('labels.mended')).toEqual((await each('name')).map(() => 'yes'));
  const { spec } = JSON.parse(await kubectl('get', 'resiliency.dapr.io/workers', '--output=json'));
  expect(spec.policies.retries['until-answered'].maxRetries).toBe(-1);
}, 600_000);

test('once all of that is mended there is nothing to find, and nothing was lost', allIsWell, 300_000);

test('a release without a Secret fails its own test, which names the API', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await installChart(cluster.shell, 'family-account', ...seeing('family-account'));
    await allIsWell();
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
  await expect(helmTest('family-account')).rejects.toThrow(/stopped at: API http:\/\/family-account:80/);
}, 600_000);

test('pods that start while the injector is away take no part, and the doctor names them', async () => {
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
        // The way to it may open a moment after it is ready, and whoever comes sooner is let by without a sidecar.
        await kubectl('delete', 'pod', ...pods, '--now');
        expect(await kubectl('get', 'pod', ...pods, '--output=jsonpath={.items[*].spec.containers[*].name}')).toMatch(
          /daprd/,
        );
      },
      { timeoutMs: 60_000 },
    );
    await settled('other-device-logout');
    await allIsWell();
  });
  await injector('scale', name, '--replicas=0');
  await injector('wait', '--for=delete', 'pod', '--selector=app=dapr-sidecar-injector', '--timeout=90s');
  await kubectl('delete', 'pod', ...pods, '--now');
  await foundInTheEnd(
    /^Pod other-device-logout-.* has no sidecar/,
    /^Deployment other-device-logout has no pod that is ready/,
  );
  // Nobody else minds.
  expect(await canary()).toMatch(/All hops of member are well/);
  await delay(5_000);
  await expect(kubectl('rollout', 'status', 'deployment/other-device-logout', '--timeout=1s')).rejects.toThrow();
}, 400_000);

type Heal = (how: () => Promise<unknown>) => void;

/** As Helm does it, or the next upgrade would find that another has the fields. */
const asHelm = '--field-manager=helm';
const patch = (what: string, change: object, ...as: string[]) =>
  kubectl('patch', what, '--type=merge', ...as, '--patch', JSON.stringify(change));

/** Leaves an app without pods until it is healed. */
async function shutDown(app: string, heal: Heal): Promise<void> {
  heal(() => settled(app));
  heal(() => kubectl('scale', `deployment/${app}`, '--replicas=1'));
  await kubectl('scale', `deployment/${app}`, '--replicas=0');
  const pods = `--selector=app.kubernetes.io/name=${app}`;
  await kubectl('wait', '--for=delete', 'pod', pods, '--timeout=90s');
}

/** Takes something away until it is healed. */
async function remove(what: string, heal: Heal): Promise<void> {
  const { metadata, ...rest } = JSON.parse(await kubectl('get', what, '--output=json'));
  const { name, namespace, labels, annotations } = metadata;
  const again = JSON.stringify({ ...rest, metadata: { name, namespace, labels, annotations } });
  const apply = ['kubectl', 'apply', '--server-side', asHelm, '--filename', '-'];
  heal(() => cluster.shell.run(apply, { input: again }));
  await kubectl('delete', what);
}

/** Gives a Component other scopes until it is healed; `app` reads them when it starts. */
async function rescope(component: string, field: string, value: string, app: string, heal: Heal): Promise<void> {
  const what = `component.dapr.io/${component}`;
  const { spec } = JSON.parse(await kubectl('get', what, '--output=json'));
  const metadata = spec.metadata.map((it: { name: string }) => (it.name === field ? { name: field, value } : it));
  heal(() => restart(app));
  heal(() => patch(what, { spec: { metadata: spec.metadata } }, asHelm));
  await patch(what, { spec: { metadata } });
  await restart(app);
}

/** The consumer through which family-account hears of members. */
const durable = ['member-external', 'family-account-member-external'] as const;

async function atBroker(act: (manager: JetStreamManager) => Promise<unknown>): Promise<void> {
  const { data } = JSON.parse(await kubectl('get', 'secret', 'broker', '--output=json'));
  await using broker = await forward(cluster.shell, NAMESPACE, 'service/nats', 4222);
  const token = Buffer.from(data.token, 'base64').toString();
  await connected(`nats://${token}@${new URL(broker.url).host}`, act);
}
