import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render } from '../support/helm.ts';
import { ofKind, podsOf } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

/** Returns a predicate: whether a NetworkPolicy selects pods with these labels. */
const selects =
  (labels: Readonly<Record<string, string>>) =>
  ({ spec }: Manifest): boolean => {
    const { matchLabels = {}, matchExpressions = [] } = spec.podSelector;
    return (
      Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
      matchExpressions.every(({ key, values }: { key: string; values: string[] }) => values.includes(labels[key]!))
    );
  };

interface Peer {
  readonly namespaceSelector?: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly podSelector?: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly ipBlock?: { readonly cidr: string };
}
interface Rule {
  readonly ports?: { readonly port: number }[];
  readonly from?: Peer[];
  readonly to?: Peer[];
}

const place = ({ namespaceSelector, podSelector, ipBlock }: Peer): string =>
  namespaceSelector?.matchLabels['kubernetes.io/metadata.name'] ??
  podSelector?.matchLabels['app.kubernetes.io/name'] ??
  ipBlock!.cidr;
/** Returns what rules open, as `port` or `port place`, without DNS, which is open to all. */
const opened = (rules: readonly Rule[] = []): string[] =>
  rules.flatMap(({ ports = [{ port: 0 }], from, to }) => {
    const places = (from ?? to)?.map(place) ?? [''];
    return ports.flatMap(({ port }) => (port === 53 ? [] : places.map((it) => `${port || 'all'} ${it}`.trim())));
  });

const policies = async (chart: string, values = '') =>
  ofKind(
    await render(helm, chart, `${values}\nnetworkPolicy: { enabled: true, egressPorts: [6432] }`),
    'NetworkPolicy',
  );
const named = (manifests: readonly Manifest[], name: string) =>
  manifests.find(({ metadata }) => metadata.name === name)!;

test('exactly one policy selects each pod when enabled, and none exists otherwise', async () => {
  for (const chart of charts) {
    expect(ofKind(await render(helm, chart), 'NetworkPolicy')).toEqual([]);
    const manifests = await render(helm, chart, 'networkPolicy: { enabled: true }');
    const pods = podsOf(manifests);
    expect(pods.length).toBeGreaterThan(4);
    const counted = pods.map(({ metadata }) => [
      metadata.labels['app.kubernetes.io/name'],
      ofKind(manifests, 'NetworkPolicy').filter(selects(metadata.labels)).length,
    ]);
    expect(counted).toEqual(counted.map(([name]) => [name, 1]));
    for (const { spec } of ofKind(manifests, 'NetworkPolicy')) expect(spec.policyTypes).toEqual(['Ingress', 'Egress']);
  }
});

test('an app may reach database, broker, tracing and dependencies, at their addresses’ ports', async () => {
  const elsewhere = `
broker: { kind: rabbitmq, address: "rabbit-0:5671,rabbit-1:5673" }
dapr: { tracing: { samplingRate: "1", otel: { endpointAddress: "otel:4317" }, zipkin: { endpointAddress: "http://zipkin:9411/api/v2/spans" } } }`;
  const all = ['all dapr-system', '4317', '5671', '5673', '6432', '9411'];
  const egress = async (chart: string, values = '') =>
    opened(
      named(await policies(chart, elsewhere + values), chart === 'workers' ? 'publish-recorder' : chart).spec.egress,
    ).sort();
  expect(await egress('workers')).toEqual(all.toSorted());
  expect(await egress('member', '\nidentityProviderUrl: https://identity.example.com')).toEqual([...all, '443'].sort());
  expect(await egress('member', '\nidentityProviderUrl: http://identity:8090/v2')).toEqual([...all, '8090'].sort());
  expect(await egress('member', '\nidentityProviderUrl: https://identity:8443?v=2')).toEqual([...all, '8443'].sort());
  expect(await egress('family-account')).toEqual([...all, '50002 a-namespace'].sort());
  expect(await egress('family-account', '\nmemberAppId: member.members')).toEqual([...all, '50002 members'].sort());
});

test('sidecar ingress is open to the namespaces of the readers only', async () => {
  const invocation = async (chart: string, values = '') =>
    opened(named(await policies(chart, values), chart).spec.ingress).filter((it) => it.startsWith('50002'));
  const readers = 'readers: [{ appId: family-account, namespace: families }, { appId: other }]';
  expect(await invocation('member', readers)).toEqual(['50002 families', '50002 a-namespace']);
  expect(await invocation('member', 'readers: []')).toEqual([]);
  expect(await invocation('family-account')).toEqual([]);
});

test('a Job may reach what it needs only, and the doctor alone the API server', async () => {
  for (const chart of ['member', 'family-account']) {
    const egress = Object.fromEntries(
      (await policies(chart)).map(({ metadata, spec }) => [metadata.name, opened(spec.egress)]),
    );
    expect(egress).toMatchObject({
      [`${chart}-hooks`]: ['6432', '4222'],
      [`${chart}-housekeeping`]: ['6432'],
      [`${chart}-restore`]: ['6432', '4222'],
      [`${chart}-canary`]: [`8083 ${chart}`],
      [`${chart}-doctor`]: [`8083 ${chart}`, '443', '6443'],
    });
    for (const { metadata, spec } of await policies(chart))
      if (metadata.name !== chart) expect(opened(spec.ingress)).toEqual([]);
  }
});

test('a hook’s Job has a policy that is created before it and deleted with it', async () => {
  for (const chart of charts) {
    const manifests = await render(helm, chart, 'networkPolicy: { enabled: true }');
    const jobs = ofKind(manifests, 'Job');
    expect(jobs.length).toBe({ member: 2, workers: 1, 'family-account': 3 }[chart]);
    for (const { metadata, spec } of jobs) {
      const [policy] = ofKind(manifests, 'NetworkPolicy').filter(selects(spec.template.metadata.labels));
      const [hook, policyAnnotations] = [metadata.annotations!, policy!.metadata.annotations!];
      const moments = hook['helm.sh/hook']!.split(',');
      expect(policyAnnotations['helm.sh/hook']!.split(',')).toEqual(expect.arrayContaining(moments));
      expect(Number(policyAnnotations['helm.sh/hook-weight'])).toBeLessThan(Number(hook['helm.sh/hook-weight'] ?? 0));
      // A hook does not belong to the release: without this, an uninstall would leave it.
      expect(policyAnnotations['helm.sh/hook-delete-policy']).toContain('hook-succeeded');
    }
  }
});

test('each rule names ports or peers, and each port is a number', async () => {
  const addresses = 'broker: { address: "nats-0:4222,[fd00::1]:4223" }';
  for (const chart of charts)
    for (const { spec } of await policies(chart, addresses))
      for (const { ports, from, to } of [...(spec.ingress ?? []), ...(spec.egress ?? [])] as Rule[]) {
        expect((ports ?? []).length + (from ?? to ?? []).length).toBeGreaterThan(0);
        for (const { port } of ports ?? []) expect(port).toEqual(expect.any(Number));
      }
});

test('apiServerTo sets where the API server is', async () => {
  const values = 'networkPolicy: { enabled: true, apiServerTo: [{ ipBlock: { cidr: 10.96.0.1/32 } }] }';
  const doctor = named(ofKind(await render(helm, 'member', values), 'NetworkPolicy'), 'member-doctor');
  expect(opened(doctor.spec.egress)).toEqual(['8083 member', '443 10.96.0.1/32', '6443 10.96.0.1/32']);
});

test('egressTo narrows all destinations outside the release', async () => {
  const values = 'networkPolicy: { enabled: true, egressTo: [{ ipBlock: { cidr: 10.0.0.0/8 } }] }';
  for (const { metadata, spec } of ofKind(await render(helm, 'member', values), 'NetworkPolicy')) {
    const ports = opened(spec.egress).filter((it) => /^(5432|4222)/.test(it));
    expect([metadata.name, ports.filter((it) => !it.endsWith(' 10.0.0.0/8'))]).toEqual([metadata.name, []]);
  }
});
