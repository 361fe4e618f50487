import { print } from '../../../services/doctor/report.ts';
import { annotate, LISTENER, look, named, remove, set, subscriberOf, type World, well } from './world.ts';

const restore = (release: string, selector = 'app.kubernetes.io/component=eventing') =>
  `helm status ${release} | grep 'STATUS: deployed' &&\nhelm get manifest ${release} | kubectl annotate --local --filename - --output yaml meta.helm.sh/release-name=${release} meta.helm.sh/release-namespace=here | kubectl apply --server-side --force-conflicts --field-manager helm --selector ${selector} --filename -`;
const restart = (...apps: string[]) => `kubectl rollout restart ${apps.map((app) => `deployment/${app}`).join(' ')}`;
const NAME = 'external-broadcaster-member-internal';
const LATER = '# mend what else is found, then look again';
const remedies = async (world: World) => [...new Set((await look(world)).findings.map(({ remedy }) => remedy))];
const edit = (world: World, spec: object) => Object.assign(named(world.subscriptions, NAME).spec, spec);

describe('What to do about it makes nothing worse:', () => {
  test('an app that hears yet is not restarted', async () => {
    const world = well();
    remove(world.subscriptions, NAME);
    expect((await look(world)).findings).toMatchObject(
      [{ what: /hears .* until/, remedy: restore('workers') }].map(matching),
    );
    // One of its pods is new.
    const pod = structuredClone(named(world.pods, 'external-broadcaster-7f-x2'));
    world.pods.push({ ...pod, metadata: { ...pod.metadata, name: 'external-broadcaster-8a-y3' } });
    const { sidecars } = subscriberOf(world, 'external-broadcaster');
    sidecars.push({ ...sidecars[0]!, replica: 'external-broadcaster-8a-y3:3500', subscriptions: [] });
    const remedy = `${restore('workers')} &&\n${restart('external-broadcaster')}`;
    expect((await look(world)).findings).toMatchObject([{ what: /hears .* until/, remedy }].map(matching));
    sidecars[0]!.subscriptions = [];
    expect((await look(world)).findings).toMatchObject([{ what: /hears nothing/, remedy }].map(matching));
  });

  test('nor one that publishes yet through what is gone', async () => {
    const world = well();
    remove(world.components, 'member-member-internal');
    expect(await remedies(world)).toEqual([restore('member')]);
    const [sidecar] = subscriberOf(world, 'member').sidecars;
    sidecar!.components = sidecar!.components.filter(({ name }) => name !== 'member-member-internal');
    expect(await remedies(world)).toEqual([`${restore('member')} &&\n${restart('member')}`]);
  });

  test('a release is called as somebody has called it, and may have several of the charts in it', async () => {
    const world = well();
    for (const it of world.deployments) it.metadata.labels['app.kubernetes.io/instance'] = 'all';
    set(world, 'workers-member-external', 'ackWait', undefined);
    named(world.subscriptions, 'publish-recorder-member-internal').spec.metadata = {};
    set(world, LISTENER, 'ackWait', undefined);
    expect(await remedies(world)).toEqual([`${restore('all')} &&\n${restart('family-account', 'publish-recorder')}`]);
  });

  test('what a pod that was killed had loaded counts for nothing', async () => {
    const world = well();
    remove(world.subscriptions, NAME);
    const { sidecars } = subscriberOf(world, 'external-broadcaster');
    sidecars.unshift({ ...sidecars[0]!, replica: 'external-broadcaster-6e-w1:3500' });
    sidecars[1]!.subscriptions = [];
    expect((await look(world)).findings).toMatchObject([{ what: /hears nothing/ }].map(matching));
  });

  test.each<[what: string, edit: (world: World) => unknown]>([
    ['is not raw', (world) => edit(world, { metadata: {} })],
    ['is about another topic', (world) => edit(world, { topic: 'members' })],
    ['names a Component that is not there', (world) => edit(world, { pubsubname: 'elsewhere' })],
    ['names the Component of another topic', (world) => edit(world, { pubsubname: 'workers-member-external' })],
    ['names a Component that is gone', (world) => remove(world.components, 'workers-member-internal')],
    ['may not hear', (world) => set(world, 'workers-member-internal', 'subscriptionScopes', 'nobody=member-internal')],
    [
      'is tried three times',
      (world) => {
        named(world.resiliencies, 'workers').spec.policies.retries = { 'until-answered': { maxRetries: 3 } };
      },
    ],
  ])(
    'whichever of a release’s resources was edited, all are made as it has them, and only then read: %s',
    async (_, breakIt) => {
      const world = well();
      breakIt(world);
      const [remedy, ...others] = await remedies(world);
      expect(remedy!.startsWith(`${restore('workers')} &&\nkubectl rollout restart `)).toBe(true);
      expect(remedy!.split('\n').at(-1)).toMatch(/deployment\/external-broadcaster/);
      for (const other of others) expect(other).toBe(LATER);
    },
  );

  test('what mends several is said once, behind the last of them', async () => {
    const world = well();
    edit(world, { topic: 'members' });
    const found = await look(world);
    const ours = found.findings.filter(({ remedy }) => remedy !== LATER);
    expect(ours.length).toBeGreaterThan(2);
    const [before, after, ...more] = print(found).split('helm get manifest');
    for (const { where, what } of ours) expect(before).toContain(`${where} ${what}`);
    expect([after!.split(LATER).length, more]).toEqual([2, []]);
  });

  test('of several releases all are mended before anybody is restarted, and only who reads what was wrong', async () => {
    const world = well();
    set(world, 'workers-member-external', 'ackWait', undefined);
    set(world, LISTENER, 'ackWait', undefined);
    expect(await remedies(world)).toEqual([
      `${restore('family-account')} &&\n${restore('workers')} &&\n${restart('family-account', 'publish-recorder')}`,
    ]);
  });

  const foreign = (world: World, metadata: object = {}) => {
    const bus = structuredClone(named(world.components, 'workers-member-external'));
    Object.assign(bus, { metadata: { name: 'orders-bus', ...metadata }, scopes: ['publish-recorder', 'orders'] });
    world.components.push(bus);
    set(world, 'orders-bus', 'ackWait', undefined);
    const { components } = subscriberOf(world, 'publish-recorder').sidecars[0]!;
    components.push({ name: 'orders-bus', type: bus.spec.type });
    return bus;
  };

  test('what somebody else has made is not touched, and waited for', async () => {
    const words = `# have Component orders-bus made as the charts make theirs: it is not a chart's of ours\n# then: ${restart('publish-recorder')}`;
    const world = well();
    foreign(world);
    expect(await remedies(world)).toEqual([words]);
    // As every chart of anybody's has them.
    const other = well();
    foreign(other, { labels: { 'app.kubernetes.io/instance': 'orders', 'helm.sh/chart': 'orders-1.0.0' } });
    expect(await remedies(other)).toEqual([words]);
    // Who reads both is restarted when both are mended.
    named(world.subscriptions, 'publish-recorder-member-internal').spec.metadata = {};
    expect(await remedies(world)).toEqual([restore('workers'), words]);
    edit(world, { metadata: {} });
    expect(await remedies(world)).toEqual([`${restore('workers')} &&\n${restart('external-broadcaster')}`, words]);
  });

  test('what a chart makes is known by its name: somebody may have taken its labels away', async () => {
    const world = well();
    set(world, 'workers-member-external', 'ackWait', undefined);
    delete named(world.components, 'workers-member-external').metadata.labels;
    expect(await remedies(world)).toEqual([`${restore('workers')} &&\n${restart('publish-recorder')}`]);
  });

  test('a Subscription of somebody’s that our apps take notice of is his to mend', async () => {
    const world = well();
    const spec = {
      pubsubname: 'workers-member-internal',
      topic: 'member-internal',
      metadata: { rawPayload: 'true' },
      routes: { default: '/events/member-internal' },
    };
    world.subscriptions.push({ metadata: { name: 'everybodys' }, spec });
    const apps = [...named(world.components, 'workers-member-internal').scopes].sort();
    expect(await remedies(world)).toEqual([
      `# mend or remove Subscription everybodys, which is not the chart's\n# then: ${restart(...apps)}`,
    ]);
  });

  test('what is nobody’s of ours is none of its business', async () => {
    const world = well();
    const bus = foreign(world);
    bus.scopes = ['orders'];
    for (const scopes of [[], ['orders']])
      world.subscriptions.push({
        metadata: { name: 'orders' },
        scopes,
        spec: { pubsubname: 'orders-bus', topic: 'orders' },
      });
    world.resiliencies.push({
      metadata: { name: 'orders' },
      spec: { policies: { retries: { thrice: { maxRetries: 3 } } }, targets: { components: { 'orders-bus': {} } } },
    });
    const portal = { metadata: { name: 'member-portal-internal' }, scopes: ['portal'], spec: { type: 'state.redis' } };
    world.components.push(portal, { metadata: { name: 'nothing' } });
    world.subscriptions.push({ metadata: { name: 'nothing' } });
    world.resiliencies.push({ metadata: { name: 'nothing' } });
    // Gone, and loaded by whoever had it.
    for (const { sidecars } of world.subscribers)
      sidecars[0]!.components.push({ name: 'everybodys-bus', type: 'pubsub.jetstream' });
    expect(await remedies(world)).toEqual([]);
    // Nor does it hide what is.
    named(world.resiliencies, 'workers').spec.policies.retries = { 'until-answered': { maxRetries: 3 } };
    const [remedy, ...others] = await remedies(world);
    expect([remedy!.startsWith(restore('workers')), others]).toEqual([true, []]);
  });

  test('what somebody has added to a Subscription no release takes out', async () => {
    const world = well();
    edit(world, {
      deadLetterTopic: 'elsewhere',
      routes: { rules: [{ path: '/elsewhere' }], default: '/events/member-internal' },
    });
    const { findings } = await look(world);
    expect(findings.map(({ remedy }) => remedy)).toEqual([
      `# take deadLetterTopic out of Subscription ${NAME}`,
      `# take rules out of Subscription ${NAME}\n# then: ${restart('external-broadcaster')}`,
    ]);
  });

  test('a sidecar is not restarted while what it would read is wrong', async () => {
    const world = well();
    edit(world, { topic: 'members' });
    const { findings } = await look(world);
    const follows = findings.findIndex(({ what }) => what.startsWith('its sidecar does not follow'));
    expect(follows).toBeGreaterThan(0);
    expect(findings[follows]!.remedy).toBe(LATER);
    const right = well();
    subscriberOf(right, 'external-broadcaster').sidecars[0]!.subscriptions = [];
    expect(await remedies(right)).toEqual([
      `kubectl logs external-broadcaster-7f-x2 --container daprd\n${restart('external-broadcaster')}`,
    ]);
  });

  test('nor is a pod started that would read it', async () => {
    const world = well();
    const NONE = 'has no pods: its events wait at the broker';
    const remedyOf = async () => (await look(world)).findings.find(({ what }) => what === NONE)!.remedy;
    named(world.deployments, 'external-broadcaster').spec.replicas = 0;
    expect(await remedyOf()).toBe('kubectl scale deployment/external-broadcaster --replicas=1');
    edit(world, { routes: { default: '/elsewhere' } });
    expect(await remedyOf()).toBe(LATER);
    const bare = well();
    named(bare.pods, 'member-7f-x2').spec.containers.pop();
    edit(bare, { metadata: {} });
    const { findings } = await look(bare);
    expect(findings.find(({ what }) => what.startsWith('has no sidecar'))!.remedy).toBe(LATER);
  });

  test('nor is a Deployment made as it was, whose new pods would read it', async () => {
    const world = well();
    annotate(world, 'external-broadcaster', 'dapr.io/enable-app-health-check', 'false');
    expect(await remedies(world)).toEqual([
      `# whatever else was changed by hand there goes back as well\n${restore('workers', 'app.kubernetes.io/name=external-broadcaster')}`,
    ]);
    edit(world, { metadata: {} });
    expect(await remedies(world)).toEqual([`${restore('workers')} &&\n${restart('external-broadcaster')}`, LATER]);
  });
});

const matching = ({ what, ...rest }: { what: RegExp; remedy?: string }) => ({
  ...rest,
  what: expect.stringMatching(what),
});
