import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render } from '../support/helm.ts';
import { ofKind } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

const appOf = ({ spec }: Manifest) =>
  spec.template.spec.containers.find(({ name }: { name: string }) => name === 'app')!;
const envOf = (deployment: Manifest): Record<string, string> =>
  Object.fromEntries(appOf(deployment).env.map(({ name, value }: { name: string; value: string }) => [name, value]));

test('each app has a sidecar port, an operations port, and a public port if it has an API', async () => {
  for (const chart of charts)
    for (const deployment of ofKind(await render(helm, chart), 'Deployment')) {
      const { PORT, SIDECAR_PORT, OPERATIONS_PORT } = envOf(deployment);
      expect(deployment.spec.template.metadata.annotations['dapr.io/app-port']).toBe(SIDECAR_PORT);
      const { ports, startupProbe, livenessProbe, readinessProbe } = appOf(deployment);
      const served = Object.fromEntries(
        ports.map(({ name, containerPort }: { name: string; containerPort: number }) => [name, `${containerPort}`]),
      );
      const open = chart === 'workers' ? {} : { http: '8080' };
      expect([served, PORT]).toEqual([{ ...open, operations: OPERATIONS_PORT }, open.http]);
      expect(new Set([PORT, SIDECAR_PORT, OPERATIONS_PORT, '8082']).size).toBe(4);
      for (const probe of [startupProbe, livenessProbe, readinessProbe]) expect(probe.httpGet.port).toBe('operations');
    }
});

test('only a ClusterIP Service leads to the operations port, for Jobs and operationsFrom', async () => {
  for (const chart of ['member', 'family-account']) {
    const hosts = 'ingress: { enabled: true, hosts: [{ host: a.example.com }] }\nservice: { type: LoadBalancer }';
    const manifests = await render(
      helm,
      chart,
      `${hosts}\nnetworkPolicy: { enabled: true, apiFrom: [{ podSelector: {} }], operationsFrom: [{ ipBlock: { cidr: 10.1.0.0/16 } }] }`,
    );
    const [operations] = ofKind(manifests, 'Service').filter(({ metadata }) => metadata.name === `${chart}-operations`);
    expect(operations!.spec).toMatchObject({ type: 'ClusterIP', ports: [{ port: 8083, targetPort: 'operations' }] });
    expect(JSON.stringify(ofKind(manifests, 'Ingress'))).not.toContain('operations');
    const { spec } = ofKind(manifests, 'NetworkPolicy').find(({ metadata }) => metadata.name === chart)!;
    const openTo = (port: number) =>
      spec.ingress.flatMap((rule: { ports: { port: number }[]; from: object[] }) =>
        rule.ports.some((it) => it.port === port) ? rule.from : [],
      );
    const job = (name: string) => ({
      podSelector: { matchLabels: expect.objectContaining({ 'app.kubernetes.io/name': `${chart}-${name}` }) },
    });
    expect(openTo(8083)).toEqual([job('canary'), job('doctor'), { ipBlock: { cidr: '10.1.0.0/16' } }]);
    expect(openTo(8080)).toEqual([{ podSelector: {} }]);
    expect(openTo(8081)).toEqual([]);
    const pods = JSON.stringify([ofKind(manifests, 'Pod'), ofKind(manifests, 'CronJob')]);
    expect(pods.match(/http:\/\/[\w-]+:\d+/g)).toEqual(Array(2).fill(`http://${chart}-operations:8083`));
  }
});

test('service.keepAliveSeconds sets how long idle connections are kept', async () => {
  for (const chart of ['member', 'family-account']) {
    const keepAlive = async (values = '') =>
      envOf(ofKind(await render(helm, chart, values), 'Deployment')[0]!).KEEP_ALIVE_SECONDS;
    expect([await keepAlive(), await keepAlive('service: { keepAliveSeconds: 660 }')]).toEqual(['95', '660']);
  }
});

test('headers of a Kafka message do not become headers of its delivery', async () => {
  for (const chart of charts) {
    const components = ofKind(await render(helm, chart, 'broker: { kind: kafka, address: "kafka:9092" }'), 'Component');
    for (const { spec } of components)
      expect(spec.metadata).toContainEqual({ name: 'excludeHeaderMetaRegex', value: '.*' });
  }
});
