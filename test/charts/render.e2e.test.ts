import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render, renderNotes } from '../support/helm.ts';
import { ofKind } from './manifests.ts';

let helm: string;
let oldHelm: string;
beforeAll(async () => {
  [helm, oldHelm] = (await helmPrograms()) as [string, string];
});

const renderAll = async (values = '') => (await Promise.all(charts.map((chart) => render(helm, chart, values)))).flat();

const matches = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>> = {}) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

test.each(charts)('Helm 3 and Helm 4 render the same from the chart %s', async (chart) => {
  const manifests = await render(helm, chart);
  expect(manifests.length).toBeGreaterThan(8);
  expect(await render(oldHelm, chart)).toEqual(manifests);
});

test('names that look like YAML booleans or numbers stay strings', async () => {
  const member = await render(
    helm,
    'member',
    'readers: [{ appId: "1", namespace: "no" }]\nnetworkPolicy: { enabled: true }',
  );
  const [{ spec }] = ofKind(member, 'Configuration') as [Manifest];
  expect(spec.accessControl.policies).toMatchObject([{ appId: '1', namespace: 'no' }]);
  const family = await render(helm, 'family-account', 'memberAppId: member.2026\nnetworkPolicy: { enabled: true }');
  const places = (manifests: Manifest[]) =>
    JSON.stringify(ofKind(manifests, 'NetworkPolicy')).match(/(?<="kubernetes.io\/metadata.name":)[^}]+/g);
  expect(places(member)).toContain('"no"');
  expect(places(family)).toContain('"2026"');
});

const monitored = 'broker: { jetstream: { monitoring: { endpoint: "nats.nats.svc.cluster.local:8222" } } }';

describe('The charts’ optional resources', () => {
  test.each([
    ['HorizontalPodAutoscaler', '{ autoscaling: { enabled: true } }'],
    ['ScaledObject', '{ keda: { enabled: true } }'],
  ])('have a %s for each app only if enabled', async (kind, workload) => {
    expect(ofKind(await renderAll(), kind)).toEqual([]);
    for (const [chart, place] of [
      ['member', 'api'],
      ['workers', 'defaults'],
      ['family-account', 'api'],
    ] as const) {
      const manifests = await render(helm, chart, `${place}: ${workload}\n${chart === 'workers' ? monitored : ''}`);
      const deployments = ofKind(manifests, 'Deployment');
      expect(ofKind(manifests, kind).map((it) => it.spec.scaleTargetRef.name)).toEqual(
        deployments.map(({ metadata }) => metadata.name),
      );
      // Otherwise each upgrade would reset the number of pods that the autoscaler has set.
      for (const { spec } of deployments) expect(spec).not.toHaveProperty('replicas');
    }
  });

  test('have a ServiceMonitor for each app that selects the metrics of its sidecars', async () => {
    expect(ofKind(await renderAll(), 'ServiceMonitor')).toEqual([]);
    const manifests = await renderAll('serviceMonitor: { enabled: true }');
    const monitors = ofKind(manifests, 'ServiceMonitor');
    const deployments = ofKind(manifests, 'Deployment');
    const names = (of: readonly Manifest[]) => of.map(({ metadata }) => metadata.name).sort();
    expect(names(monitors)).toEqual(names(deployments));
    for (const { metadata, spec } of monitors) {
      const services = ofKind(manifests, 'Service').filter((it) =>
        matches(spec.selector.matchLabels, it.metadata.labels),
      );
      expect(services.map((it) => it.metadata.name)).toEqual([`${metadata.name}-metrics`]);
      const [{ spec: service }] = services as [Manifest];
      // The default port of daprd's metrics, which nothing here changes.
      expect(service.ports).toEqual([{ name: spec.endpoints[0].port, port: 9090 }]);
      const behind = deployments.filter((it) => matches(service.selector, it.spec.template.metadata.labels));
      expect(names(behind)).toEqual([metadata.name]);
      expect(behind[0]!.spec.template.metadata.annotations).not.toHaveProperty(['dapr.io/metrics-port']);
    }
  });

  test('have an Ingress for each API that routes to its Service', async () => {
    for (const [chart, port] of [
      ['member', 80],
      ['family-account', 80],
    ] as const) {
      expect(ofKind(await render(helm, chart), 'Ingress')).toEqual([]);
      const values = `ingress: { enabled: true, className: nginx, hosts: [{ host: a.example.com }, { host: b.example.com, paths: [{ path: /v1 }] }], tls: [{ secretName: x, hosts: [a.example.com] }] }`;
      const manifests = await render(helm, chart, values);
      const backend = { service: { name: chart, port: { name: 'http' } } };
      expect(ofKind(manifests, 'Ingress').map(({ spec }) => spec)).toEqual([
        {
          ingressClassName: 'nginx',
          tls: [{ secretName: 'x', hosts: ['a.example.com'] }],
          rules: [
            { host: 'a.example.com', http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } },
            { host: 'b.example.com', http: { paths: [{ path: '/v1', pathType: 'Prefix', backend }] } },
          ],
        },
      ]);
      const services = ofKind(manifests, 'Service').map(({ metadata, spec }) => [metadata.name, spec.type, spec.ports]);
      expect(services).toEqual([
        [chart, 'ClusterIP', [{ name: 'http', port, targetPort: 'http' }]],
        [`${chart}-operations`, 'ClusterIP', [{ name: 'operations', port: 8083, targetPort: 'operations' }]],
      ]);
    }
  });

  test('omit a disabled worker, whose topics stay open to it', async () => {
    const manifests = await render(helm, 'workers', 'workers: { device-login-recorder: { enabled: false } }');
    expect(ofKind(manifests, 'Deployment').map(({ metadata }) => metadata.name)).not.toContain('device-login-recorder');
    const [internal] = ofKind(manifests, 'Component').filter(({ metadata }) => /internal/.test(metadata.name));
    expect(internal!.scopes).toContain('device-login-recorder');
  });

  test('can differ for a single worker', async () => {
    const manifests = await render(helm, 'workers', 'workers: { publish-recorder: { replicas: 7 } }');
    const replicas = Object.fromEntries(
      ofKind(manifests, 'Deployment').map(({ metadata, spec }) => [metadata.name, spec.replicas]),
    );
    expect(replicas).toMatchObject({ 'publish-recorder': 7, 'external-broadcaster': 1 });
  });
});

test.each([
  ['of 70 characters', 'a'.repeat(70), 'a'.repeat(63)],
  ['with invalid first and last characters', '_1.2-', '1.2'],
  ['with a dash as its 63rd character', `${'a'.repeat(62)}-b`, 'a'.repeat(62)],
])('an image tag %s becomes a valid label', async (_, tag, label) => {
  for (const { metadata } of await render(helm, 'member', `image: { tag: "${tag}" }`))
    expect(metadata.labels?.['app.kubernetes.io/version']).toBe(label);
});

test.each(charts)('the install notes of %s name existing resources only', async (chart) => {
  const notes = await renderNotes(helm, chart);
  const existing = (await render(helm, chart)).map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name}`);
  for (const [named] of notes.matchAll(/\b(deployment|service)\/[\w-]+/g)) expect(existing).toContain(named);
  expect(notes).toMatch(chart === 'workers' ? /get subscriptions/ : /rollout status deployment/);
  for (const line of notes.split('\n').filter((it) => /^ +(kubectl|helm)/.test(it)))
    expect(line).toContain('-n a-namespace');
  if (chart === 'workers') return;
  expect(notes).toContain(`test ${chart} --logs`);
  const ingress = 'ingress: { enabled: true, hosts: [{ host: a.example.com }] }';
  expect(notes).not.toContain('WARNING');
  expect(await renderNotes(helm, chart, ingress)).toContain('WARNING: behind the Ingress');
  expect(await renderNotes(helm, chart, `${ingress}\ntrustProxy: true`)).not.toContain('WARNING');
});
