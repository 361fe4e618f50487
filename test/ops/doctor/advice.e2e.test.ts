import { print } from '../../../ops/doctor/report.ts';
import {
  annotate,
  type FakeCluster,
  healthyCluster,
  LISTENER,
  named,
  remove,
  runDoctor,
  set,
  subscriberOf,
} from './fake-cluster.ts';

const restore = (releases: string, readers?: string) =>
  `Restore the ${releases}${thenRestart(readers)}: docs/doctor.md#restore-a-release`;
const thenRestart = (readers?: string) => (readers ? `, then restart ${readers}` : '');
const NAME = 'external-broadcaster-member-internal';
const FIX_OTHERS_FIRST = 'Fix the other findings, then run the doctor again: docs/doctor.md#order-of-repairs';
const remedies = async (cluster: FakeCluster) => [
  ...new Set((await runDoctor(cluster)).findings.map(({ remedy }) => remedy)),
];
const edit = (cluster: FakeCluster, spec: object) => Object.assign(named(cluster.subscriptions, NAME).spec, spec);

describe('A remedy', () => {
  test('does not restart an app that still receives', async () => {
    const cluster = healthyCluster();
    remove(cluster.subscriptions, NAME);
    expect((await runDoctor(cluster)).findings).toMatchObject(
      [{ what: /receives .* until/, remedy: restore('release workers') }].map(matching),
    );
    // One of its pods is new.
    const pod = structuredClone(named(cluster.pods, 'external-broadcaster-7f-x2'));
    cluster.pods.push({ ...pod, metadata: { ...pod.metadata, name: 'external-broadcaster-8a-y3' } });
    const { sidecars } = subscriberOf(cluster, 'external-broadcaster');
    sidecars.push({ ...sidecars[0]!, replica: 'external-broadcaster-8a-y3:3500', subscriptions: [] });
    const remedy = restore('release workers', 'external-broadcaster');
    expect((await runDoctor(cluster)).findings).toMatchObject([{ what: /receives .* until/, remedy }].map(matching));
    sidecars[0]!.subscriptions = [];
    expect((await runDoctor(cluster)).findings).toMatchObject([{ what: /does not receive/, remedy }].map(matching));
  });

  test('does not restart an app that still publishes through a deleted Component', async () => {
    const cluster = healthyCluster();
    remove(cluster.components, 'member-member-internal');
    expect(await remedies(cluster)).toEqual([restore('release member')]);
    const [sidecar] = subscriberOf(cluster, 'member').sidecars;
    sidecar!.components = sidecar!.components.filter(({ name }) => name !== 'member-member-internal');
    expect(await remedies(cluster)).toEqual([restore('release member', 'member')]);
  });

  test('uses the release’s own name, also for a release of several charts', async () => {
    const cluster = healthyCluster();
    for (const it of cluster.deployments) it.metadata.labels['app.kubernetes.io/instance'] = 'all';
    set(cluster, 'workers-member-external', 'ackWait', undefined);
    named(cluster.subscriptions, 'publish-recorder-member-internal').spec.metadata = {};
    set(cluster, LISTENER, 'ackWait', undefined);
    expect(await remedies(cluster)).toEqual([restore('release all', 'family-account and publish-recorder')]);
  });

  test('ignores what a killed pod had loaded', async () => {
    const cluster = healthyCluster();
    remove(cluster.subscriptions, NAME);
    const { sidecars } = subscriberOf(cluster, 'external-broadcaster');
    sidecars.unshift({ ...sidecars[0]!, replica: 'external-broadcaster-6e-w1:3500' });
    sidecars[1]!.subscriptions = [];
    expect((await runDoctor(cluster)).findings).toMatchObject([{ what: /does not receive/ }].map(matching));
  });

  test.each<[what: string, edit: (cluster: FakeCluster) => unknown]>([
    ['not raw', (cluster) => edit(cluster, { metadata: {} })],
    ['another topic', (cluster) => edit(cluster, { topic: 'members' })],
    ['unknown Component', (cluster) => edit(cluster, { pubsubname: 'elsewhere' })],
    ['Component of another topic', (cluster) => edit(cluster, { pubsubname: 'workers-member-external' })],
    ['deleted Component', (cluster) => remove(cluster.components, 'workers-member-internal')],
    [
      'denied by subscriptionScopes',
      (cluster) => set(cluster, 'workers-member-internal', 'subscriptionScopes', 'another-app=member-internal'),
    ],
    [
      'limited retries',
      (cluster) => {
        named(cluster.resiliencies, 'workers').spec.policies.retries = { 'until-answered': { maxRetries: 3 } };
      },
    ],
  ])('restores the whole release before any restart: %s', async (_, injectFault) => {
    const cluster = healthyCluster();
    injectFault(cluster);
    const [remedy, ...others] = await remedies(cluster);
    expect(remedy).toMatch(/^Restore the release workers, then restart .*external-broadcaster.*#restore-a-release$/);
    for (const other of others) expect(other).toBe(FIX_OTHERS_FIRST);
  });

  test('is printed once, after the last finding that it fixes', async () => {
    const cluster = healthyCluster();
    edit(cluster, { topic: 'members' });
    const diagnosis = await runDoctor(cluster);
    const ours = diagnosis.findings.filter(({ remedy }) => remedy !== FIX_OTHERS_FIRST);
    expect(ours.length).toBeGreaterThan(2);
    const [before, after, ...more] = print(diagnosis).split('Restore the release');
    for (const { where, what } of ours) expect(before).toContain(`${where} ${what}`);
    expect([after!.split(FIX_OTHERS_FIRST).length, more]).toEqual([2, []]);
  });

  test('restores all releases, then restarts only the apps that read a wrong resource', async () => {
    const cluster = healthyCluster();
    set(cluster, 'workers-member-external', 'ackWait', undefined);
    set(cluster, LISTENER, 'ackWait', undefined);
    expect(await remedies(cluster)).toEqual([
      restore('releases family-account and workers', 'family-account and publish-recorder'),
    ]);
  });

  const foreign = (cluster: FakeCluster, metadata: object = {}) => {
    const bus = structuredClone(named(cluster.components, 'workers-member-external'));
    Object.assign(bus, { metadata: { name: 'orders-bus', ...metadata }, scopes: ['publish-recorder', 'orders'] });
    cluster.components.push(bus);
    set(cluster, 'orders-bus', 'ackWait', undefined);
    const { components } = subscriberOf(cluster, 'publish-recorder').sidecars[0]!;
    components.push({ name: 'orders-bus', type: bus.spec.type });
    return bus;
  };

  test('leaves a foreign Component to its owner and waits for it', async () => {
    const remedy =
      'Correct Component orders-bus, which no release of these charts defines, then restart publish-recorder: docs/doctor.md#foreign-resource';
    const cluster = healthyCluster();
    foreign(cluster);
    expect(await remedies(cluster)).toEqual([remedy]);
    // With labels as any Helm chart sets them.
    const other = healthyCluster();
    foreign(other, { labels: { 'app.kubernetes.io/instance': 'orders', 'helm.sh/chart': 'orders-1.0.0' } });
    expect(await remedies(other)).toEqual([remedy]);
    // An app that reads both is restarted once both are fixed.
    named(cluster.subscriptions, 'publish-recorder-member-internal').spec.metadata = {};
    expect(await remedies(cluster)).toEqual([restore('release workers'), remedy]);
    edit(cluster, { metadata: {} });
    expect(await remedies(cluster)).toEqual([restore('release workers', 'external-broadcaster'), remedy]);
  });

  test('recognises a chart’s Component by its name, even without labels', async () => {
    const cluster = healthyCluster();
    set(cluster, 'workers-member-external', 'ackWait', undefined);
    delete named(cluster.components, 'workers-member-external').metadata.labels;
    expect(await remedies(cluster)).toEqual([restore('release workers', 'publish-recorder')]);
  });

  test('leaves a foreign Subscription that our apps follow to its owner', async () => {
    const cluster = healthyCluster();
    const spec = {
      pubsubname: 'workers-member-internal',
      topic: 'member-internal',
      metadata: { rawPayload: 'true' },
      routes: { default: '/events/member-internal' },
    };
    cluster.subscriptions.push({ metadata: { name: 'shared' }, spec });
    const apps = [...named(cluster.components, 'workers-member-internal').scopes].sort();
    expect(await remedies(cluster)).toEqual([
      `Correct or delete Subscription shared, which no release of these charts defines${thenRestart(new Intl.ListFormat('en-GB').format(apps))}: docs/doctor.md#foreign-resource`,
    ]);
  });

  test('ignores resources that none of our apps use', async () => {
    const cluster = healthyCluster();
    const bus = foreign(cluster);
    bus.scopes = ['orders'];
    for (const scopes of [[], ['orders']])
      cluster.subscriptions.push({
        metadata: { name: 'orders' },
        scopes,
        spec: { pubsubname: 'orders-bus', topic: 'orders' },
      });
    cluster.resiliencies.push({
      metadata: { name: 'orders' },
      spec: { policies: { retries: { thrice: { maxRetries: 3 } } }, targets: { components: { 'orders-bus': {} } } },
    });
    const portal = { metadata: { name: 'member-portal-internal' }, scopes: ['portal'], spec: { type: 'state.redis' } };
    cluster.components.push(portal, { metadata: { name: 'nothing' } });
    cluster.subscriptions.push({ metadata: { name: 'nothing' } });
    cluster.resiliencies.push({ metadata: { name: 'nothing' } });
    // Deleted, but still loaded by the sidecars.
    for (const { sidecars } of cluster.subscribers)
      sidecars[0]!.components.push({ name: 'shared-bus', type: 'pubsub.jetstream' });
    expect(await remedies(cluster)).toEqual([]);
    // It hides no fault of ours.
    named(cluster.resiliencies, 'workers').spec.policies.retries = { 'until-answered': { maxRetries: 3 } };
    const [remedy, ...others] = await remedies(cluster);
    expect(remedy).toMatch(/^Restore the release workers, then restart /);
    expect(others).toEqual([]);
  });

  test('names the fields that were added to a Subscription and must be removed by hand', async () => {
    const cluster = healthyCluster();
    edit(cluster, {
      deadLetterTopic: 'elsewhere',
      routes: { rules: [{ path: '/elsewhere' }], default: '/events/member-internal' },
    });
    const { findings } = await runDoctor(cluster);
    expect(findings.map(({ remedy }) => remedy)).toEqual([
      `Remove deadLetterTopic from Subscription ${NAME}: docs/doctor.md#added-fields`,
      `Remove rules from Subscription ${NAME}, then restart external-broadcaster: docs/doctor.md#added-fields`,
    ]);
  });

  test('does not restart a sidecar while its Subscription is wrong', async () => {
    const cluster = healthyCluster();
    edit(cluster, { topic: 'members' });
    const { findings } = await runDoctor(cluster);
    const follows = findings.findIndex(({ what }) => what.startsWith('its sidecar has not loaded the Subscription'));
    expect(follows).toBeGreaterThan(0);
    expect(findings[follows]!.remedy).toBe(FIX_OTHERS_FIRST);
    const right = healthyCluster();
    subscriberOf(right, 'external-broadcaster').sidecars[0]!.subscriptions = [];
    expect(await remedies(right)).toEqual([
      'Read the log of its sidecar, then restart external-broadcaster: docs/doctor.md#sidecar-without-resource',
    ]);
  });

  test('does not start a pod while its Subscription is wrong', async () => {
    const cluster = healthyCluster();
    const NONE = 'has no pods: its events wait at the broker';
    const remedyOf = async () => (await runDoctor(cluster)).findings.find(({ what }) => what === NONE)!.remedy;
    named(cluster.deployments, 'external-broadcaster').spec.replicas = 0;
    expect(await remedyOf()).toBe('Scale up external-broadcaster: docs/doctor.md#no-pods');
    edit(cluster, { routes: { default: '/elsewhere' } });
    expect(await remedyOf()).toBe(FIX_OTHERS_FIRST);
    const bare = healthyCluster();
    named(bare.pods, 'member-7f-x2').spec.containers.pop();
    edit(bare, { metadata: {} });
    const { findings } = await runDoctor(bare);
    expect(findings.find(({ what }) => what.startsWith('has no sidecar'))!.remedy).toBe(FIX_OTHERS_FIRST);
  });

  test('does not restore a Deployment while the Subscription of its pods is wrong', async () => {
    const cluster = healthyCluster();
    annotate(cluster, 'external-broadcaster', 'dapr.io/enable-app-health-check', 'false');
    expect(await remedies(cluster)).toEqual([
      'Restore the Deployment from the release workers, which reverts other manual changes too: docs/doctor.md#wrong-annotation',
    ]);
    edit(cluster, { metadata: {} });
    expect(await remedies(cluster)).toEqual([restore('release workers', 'external-broadcaster'), FIX_OTHERS_FIRST]);
  });
});

const matching = ({ what, ...rest }: { what: RegExp; remedy?: string }) => ({
  ...rest,
  what: expect.stringMatching(what),
});
