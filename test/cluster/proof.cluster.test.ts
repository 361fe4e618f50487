import { setTimeout as delay } from 'node:timers/promises';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { openApiServer, openStage } from '../../k8s/stage.ts';
import { diagnose } from '../../services/doctor/report.ts';
import { workers } from '../../services/workers/workers.ts';
import { eventually } from '../support/eventually.ts';
import { invariants } from './invariants.ts';

// Each test finds everything well, and leaves it so.
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
  for (const chart of ['member', 'family-account'])
    await installChart(cluster.shell, chart, '--set', 'doctor.readDefinitions=true');
}, 400_000);

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

/** Where the doctor finds something. */
async function findings(): Promise<string[]> {
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
  expect(both.flatMap(({ unseen }) => unseen)).toEqual([]);
  return both.flatMap(({ findings }) => findings.map(({ where, what }) => `${where} ${what}`));
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
      expect(await kubectl('logs', `job/${job}`)).toBe('Nothing keeps events from being heard.\n');
    } finally {
      await kubectl('delete', 'job', job);
    }
  }
}, 240_000);

test('whatever is broken, a canary names the first hop that it does not come by, and the doctor what is the matter', async () => {
  await using repair = new AsyncDisposableStack();
  const heal = async (how: () => Promise<unknown>) => void repair.defer(async () => void (await how()));
  const patch = (what: string, change: object) =>
    kubectl('patch', what, '--type=merge', '--field-manager=helm', '--patch', JSON.stringify(change));

  await heal(() => restart('family-account'));
  await removed('subscription.dapr.io/family-account-member-external', heal);
  await restart('family-account');
  expect(await canary()).toMatch(/^stopped at: family-account: .*has it a Subscription/);

  await heal(() => settled('external-broadcaster'));
  await heal(() => kubectl('scale', 'deployment/external-broadcaster', '--replicas=1'));
  await kubectl('scale', 'deployment/external-broadcaster', '--replicas=0');
  await kubectl(
    'wait',
    '--for=delete',
    'pod',
    '--selector=app.kubernetes.io/name=external-broadcaster',
    '--timeout=90s',
  );
  expect(await canary()).toMatch(/^stopped at: external-broadcaster: external-broadcaster has not heard it/);

  const subscription = 'subscription.dapr.io/publish-recorder-member-internal';
  await heal(() => restart('publish-recorder'));
  await heal(() => patch(subscription, { spec: { topic: 'member-internal' } }));
  await patch(subscription, { spec: { topic: 'members' } });
  await restart('publish-recorder');
  expect(await canary()).toMatch(/^stopped at: topic member-internal: /);

  const component = 'component.dapr.io/member-member-internal';
  const { spec } = JSON.parse(await kubectl('get', component, '--output=json'));
  const closed = spec.metadata.map((it: { name: string }) =>
    it.name === 'publishingScopes' ? { name: it.name, value: 'nobody=member-internal' } : it,
  );
  await heal(() => restart('member'));
  await heal(() => patch(component, { spec: { metadata: spec.metadata } }));
  await patch(component, { spec: { metadata: closed } });
  await restart('member');
  expect(await canary()).toMatch(/^stopped at: relay to member-internal: /);

  await foundInTheEnd(
    /^Subscription family-account-member-external is not there/,
    /^Deployment external-broadcaster has no pods/,
    /^Subscription publish-recorder-member-internal is not there/,
  );
  await repair.disposeAsync();
  await allIsWell();
}, 900_000);

test('a release without a Secret fails its own test, which names the API', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await installChart(cluster.shell, 'family-account', '--set', 'doctor.readDefinitions=true');
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
  await using repair = new AsyncDisposableStack();
  repair.defer(async () => {
    await injector('scale', name, '--replicas=1');
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

/** Takes something away until it is healed. */
async function removed(what: string, heal: (how: () => Promise<unknown>) => Promise<void>): Promise<void> {
  const { metadata, ...rest } = JSON.parse(await kubectl('get', what, '--output=json'));
  const { name, namespace, labels, annotations } = metadata;
  const again = JSON.stringify({ ...rest, metadata: { name, namespace, labels, annotations } });
  // As Helm does it, or the next upgrade would find that another has the fields.
  const apply = ['kubectl', 'apply', '--server-side', '--field-manager=helm', '--filename', '-'];
  await heal(() => cluster.shell.run(apply, { input: again }));
  await kubectl('delete', what);
}
