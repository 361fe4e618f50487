import { charts } from '../../docs/charts.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { evaluate, yamlOf } from '../k8s/tilt.ts';
import { helmPrograms, renderText } from '../support/helm.ts';
import { otherOperatorsCrds } from './crds.ts';

const NAMESPACE = 'a-namespace';
let cluster: Cluster;
let helm: string;
/** CRDs that this test has added. A cluster with these operators keeps its own. */
const added: string[] = [];
beforeAll(async () => {
  cluster = await current();
  [helm] = (await helmPrograms()) as [string, string];
  for (const crd of await otherOperatorsCrds()) {
    if (await cluster.shell.kubectl('get', '--filename', crd, '--ignore-not-found', '--output=name')) continue;
    added.push(crd);
    await cluster.shell.kubectl('apply', '--server-side', '--filename', crd);
  }
  // Violations show as warnings, since a dry run creates no pods.
  const labels = Object.fromEntries(
    ['enforce', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted']),
  );
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, labels } };
  await apply(JSON.stringify(namespace));
}, 120_000);

afterAll(async () => {
  await cluster.shell.kubectl('delete', 'namespace', NAMESPACE, '--ignore-not-found');
  for (const crd of added) await cluster.shell.kubectl('delete', '--ignore-not-found', '--filename', crd);
}, 120_000);

/** @returns the warnings of the API server */
async function apply(manifests: string, ...flags: string[]): Promise<string[]> {
  const warnings: string[] = [];
  const command = ['kubectl', '--namespace', NAMESPACE, 'apply', ...flags, '--filename', '-'];
  await cluster.shell.run(command, {
    input: manifests,
    tell: (line) => /^Warning/.test(line) && warnings.push(line),
  });
  return warnings;
}

const everything = (workload: string) => `
serviceMonitor: { enabled: true, labels: { release: prometheus } }
networkPolicy:
  enabled: true
  metricsFrom: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: monitoring } } }]
  egressTo: [{ ipBlock: { cidr: 10.0.0.0/8 } }]
commonLabels: { team: identity }
imagePullSecrets: [{ name: registry }]
image: { digest: "sha256:${'0'.repeat(64)}" }
broker: { extraMetadata: { domain: hub }, extraSecretMetadata: { jwt: jwt, seedKey: seed } ${workload === 'api' ? ', jetstream: { streams: { create: false } }' : ''} }
dapr: { nativeSidecar: true, image: "registry.example.com/daprd:1.18.1", tracing: { samplingRate: "0.1", otel: { endpointAddress: "otel:4317", protocol: grpc, isSecure: false } } }
${workload}:
  replicas: 3
  extraEnv: [{ name: NODE_OPTIONS, value: --max-old-space-size=300 }]
  extraEnvFrom: [{ configMapRef: { name: more, optional: true } }]
  podAnnotations: { example.com/note: here }
  podLabels: { example.com/cost: "1" }
  nodeSelector: { kubernetes.io/os: linux }
  tolerations: [{ key: dedicated, operator: Exists }]
  affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } }
  topologySpreadConstraints: [{ maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway }]
  priorityClassName: system-cluster-critical
  podDisruptionBudget: { maxUnavailable: 50% }
`;

const JOBS = `
jobs:
  extraEnv: [{ name: NODE_EXTRA_CA_CERTS, value: /etc/ca/ca.crt }]
  podAnnotations: { example.com/note: here }
  nodeSelector: { kubernetes.io/os: linux }
  tolerations: [{ key: dedicated, operator: Exists }]
  affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } }
  priorityClassName: system-cluster-critical
image: { tag: "${'a'.repeat(62)}-b" }
`;

const NAMED_CALLERS = `
networkPolicy: { enabled: true, apiFrom: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: ingress } } }] }
doctor: { readDefinitions: true, suspend: false }
`;

describe.each(charts)('Manifests of the chart %s', (chart) => {
  const workload = chart === 'workers' ? 'defaults' : 'api';
  const values: [string, string][] = [
    ...['jetstream', 'redis', 'rabbitmq', 'kafka'].map((kind): [string, string] => [kind, `broker: { kind: ${kind} }`]),
    ['everything at once', everything(workload)],
    ...(workload === 'api'
      ? ([
          ['an Ingress', 'ingress: { enabled: true, hosts: [{ host: a.example.com }] }'],
          ['Jobs with scheduling', JOBS],
          ['named callers, scheduled doctor', NAMED_CALLERS],
        ] as [string, string][])
      : []),
    ...(chart === 'member'
      ? ([['a reader in another namespace', 'readers: [{ appId: family-account, namespace: other }]']] as [
          string,
          string,
        ][])
      : []),
    ['autoscaling', `${workload}: { autoscaling: { enabled: true } }`],
    [
      'KEDA',
      `${workload}: { keda: { enabled: true } }${workload === 'defaults' ? '\nbroker: { jetstream: { monitoring: { endpoint: "nats:8222" } } }' : ''}`,
    ],
    ['Kafka without credentials', 'broker: { kind: kafka, kafka: { authType: none, tls: false } }'],
  ];
  test.each(values)('are accepted under "restricted" without a warning: %s', async (_, given) => {
    expect(await apply(await renderText(helm, chart, given), '--dry-run=server')).toEqual([]);
  });
});

test('the Tiltfile’s manifests are accepted without a warning', async () => {
  // Not into the namespace of the installation, whose Jobs are immutable.
  const elsewhere = yamlOf(await evaluate()).replaceAll('namespace: member-system', `namespace: ${NAMESPACE}`);
  expect(elsewhere.match(/^kind: /gm)!.length).toBeGreaterThan(40);
  expect(await apply(elsewhere, '--dry-run=server')).toEqual([]);
});

test('a privileged pod is rejected with a PodSecurity error', async () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'privileged-pod' },
    spec: { containers: [{ name: 'privileged-pod', image: 'privileged-pod', securityContext: { privileged: true } }] },
  };
  await expect(apply(JSON.stringify(pod), '--dry-run=server')).rejects.toThrow('violates PodSecurity "restricted');
});
