import { renamedValues } from '#process/renamed';
import { helmPrograms, render } from '../support/helm.ts';

let helm: string;
let oldHelm: string;
beforeAll(async () => {
  [helm, oldHelm] = (await helmPrograms()) as [string, string];
});

/** Values that would lose events, open what has to be closed, or never work, with a part of the error message. */
const rejected: readonly [chart: string, values: string, message: string][] = [
  ['member', 'relay: { resendAfterSeconds: 20 }', 'use at least 30'],
  ['workers', 'broker: { reconcileAfterSeconds: 20 }', 'use at least 30'],
  ['family-account', 'broker: { deliverySeconds: 200 }', 'use at least 400'],
  ['member', 'shutdown: { gracePeriodSeconds: 30 }', 'pods would be killed in the middle of their work'],
  ['workers', 'dapr: { blockShutdownSeconds: 5 }', 'the app needs its sidecar for up to'],
  ['workers', 'dapr: { blockShutdownSeconds: 40 }', 'it would be killed while it publishes'],
  ['member', 'shutdown: { timeoutSeconds: 25 }', 'pods would be killed in the middle of their work'],
  ...Object.entries(renamedValues).map(([old, name]): [string, string, string] => {
    const [group, value] = old.split('.');
    return ['workers', `${group}: { ${value}: 30 }`, `renamed to ${name}`];
  }),
  ['member', 'api: { keda: { lagSeconds: 5 } }', 'replaced by api.keda.waitingMessages, in messages'],
  ['workers', 'defaults: { keda: { lagSeconds: 5 } }', 'replaced by defaults.keda.waitingMessages, in messages'],
  ['member', 'api: { replicas: 33 }', 'an outbox has 32 partitions'],
  ['member', 'api: { autoscaling: { enabled: true, maxReplicas: 40 } }', 'an outbox has 32 partitions'],
  ['member', 'api: { keda: { enabled: true, maxReplicas: 40 } }', 'an outbox has 32 partitions'],
  ['workers', 'defaults: { keda: { enabled: true }, autoscaling: { enabled: true } }', 'scale against each other'],
  ['member', 'broker: { deliverySeconds: 12 }', 'redeliver events that are being handled; use at least 13'],
  ['member', 'broker: { deliverySeconds: 0 }', 'deliverySeconds'],
  ['workers', 'broker: { jetstream: { maxAckPending: 0 } }', 'maxAckPending'],
  ['workers', 'broker: { kind: rabbitmq, rabbitmq: { prefetchCount: 0 } }', 'prefetchCount'],
  ['workers', 'broker: { kind: rabbitmq, rabbitmq: { prefetchCount: 256 } }', 'prefetchCount'],
  ['workers', 'broker: { kind: redis, redis: { keepHours: 0 } }', 'keepHours'],
  ['family-account', 'broker: { extraMetadata: { ackWait: 1s } }', 'sets ackWait, which the chart sets already'],
  ['family-account', 'broker: { extraMetadata: { ACKWAIT: 1s } }', 'sets ACKWAIT, which the chart sets already'],
  ['member', 'broker: { extraMetadata: { allowedTopics: "" } }', 'sets allowedTopics, which the chart sets already'],
  ['member', 'broker: { extraSecretMetadata: { natsUrl: url } }', 'sets natsUrl, which the chart sets already'],
  [
    'member',
    'broker: { extraMetadata: { jwt: x }, extraSecretMetadata: { JWT: x } }',
    'broker.extraMetadata sets already',
  ],
  ['workers', 'broker: { extraMetadata: { maxDeliver: "5" } }', 'drop an event after this many failed deliveries'],
  ['workers', 'broker: { kind: redis, extraMetadata: { maxLenApprox: "5" } }', 'a slow app has not read'],
  ['workers', 'broker: { kind: rabbitmq, extraMetadata: { enableDeadLetter: "true" } }', 'leave its queue permanently'],
  ['workers', 'broker: { kind: kafka, extraMetadata: { consumeRetryEnabled: "false" } }', 'would be skipped'],
  ['workers', 'defaults: { keda: { enabled: true } }', 'set broker.jetstream.monitoring.endpoint'],
  [
    'workers',
    'workers: { external-broadcaster: { keda: { enabled: true } } }\nbroker: { kind: kafka }',
    'use autoscaling',
  ],
  ['member', 'broker: { address: "" }', 'address'],
  ['member', 'broker: { kind: carrier-pigeon }', 'kind'],
  ['workers', 'workers: { no-such-worker: {} }', 'no-such-worker'],
  ['workers', 'workers: { publish-recorder: { replica: 3 } }', 'replica'],
  ['member', 'replicas: 3', 'replicas'],
  ['member', 'readers: [{ namespace: families }]', 'appId'],
  ['member', 'readers: [{ appId: family-account, nameSpace: families }]', 'nameSpace'],
  ['member', 'readers: [family-account]', 'readers'],
  ['family-account', 'ingress: { enabled: true }', 'ingress.hosts is empty'],
  ['member', 'api: { replicas: many }', 'replicas'],
  ['member', 'api: { autoscaling: { enabled: true, maxReplicas: 1 } }', 'maxReplicas is 1'],
  ['workers', 'workers: { publish-recorder: { keda: { enabled: true, minReplicas: 9, maxReplicas: 8 } } }', 'is 9'],
  ['workers', 'broker: { deliverySeconds: 1000000 }', 'deliverySeconds'],
  ['member', 'broker: { address: "nats:4222," }', 'address'],
  ['workers', 'broker: { address: "nats:4222,other" }', 'address'],
  ['family-account', 'networkPolicy: { enabled: true, apiServerPorts: [] }', 'apiServerPorts'],
  ['member', 'ingress: { enabled: true, hosts: [a.example.com] }', 'ingress/hosts'],
  ['member', 'ingress: { enabled: true, hosts: [{ host: a.example.com, path: /v1 }] }', 'path'],
  ['workers', 'broker: { extraSecretMetadata: { tls_client_cert: tls.crt } }', 'expects the name of a file there'],
  ['member', 'broker: { extraMetadata: { domain: hub } }', 'not with domain: create the streams yourself'],
  ['family-account', 'broker: { extraSecretMetadata: { jwt: j, seedKey: s } }', 'not with jwt, seedKey: create'],
  // Keys without a value, which would silently remove a default.
  ['workers', 'workers: { publish-recorder: null }', 'publish-recorder'],
  ['workers', 'workers: null', 'workers'],
  ['workers', 'defaults: { replicas: null }', 'replicas'],
  ['workers', 'workers: { publish-recorder: { nodeSelector: { pool: null } } }', 'nodeSelector/pool'],
  ['member', 'api: { replicas: null }', 'replicas'],
  ['member', 'networkPolicy: { enabled: true, apiServerPorts: null }', 'apiServerPorts'],
  ['member', 'networkPolicy: { enabled: true, egressPorts: null }', 'egressPorts'],
  ['workers', 'broker: { jetstream: { maxAckPending: null } }', 'maxAckPending'],
  ['family-account', 'broker: { extraMetadata: null }', 'extraMetadata'],
  ['member', 'jobs: null', 'jobs'],
  // Duplicates, and values that would replace what the chart sets.
  ['member', 'api: { extraEnv: [{ name: LOG_LEVEL, value: debug }] }', 'extraEnv of member sets LOG_LEVEL'],
  [
    'member',
    'relay: { extraEnv: [{ name: SHUTDOWN_TIMEOUT_SECONDS, value: "1" }] }',
    'relay.extraEnv sets SHUTDOWN_TIMEOUT_SECONDS',
  ],
  ['member', 'jobs: { extraEnv: [{ name: DATABASE_URL, value: x }] }', 'jobs.extraEnv sets DATABASE_URL'],
  [
    'workers',
    'defaults: { extraEnv: [{ name: A, value: x }, { name: A, value: y }] }',
    'sets A, which it sets already',
  ],
  ['member', 'jobs: { podAnnotations: { dapr.io/enabled: "true" } }', 'jobs.podAnnotations sets dapr.io/enabled'],
  ['member', 'api: { podAnnotations: { dapr.io/config: own } }', 'podAnnotations of member sets dapr.io/config'],
  ['workers', 'defaults: { podLabels: { app.kubernetes.io/name: x } }', 'sets app.kubernetes.io/name'],
  ['workers', 'commonLabels: { app.kubernetes.io/part-of: x }', 'commonLabels sets app.kubernetes.io/part-of'],
  ['workers', 'commonLabels: { a: b }\ndefaults: { podLabels: { a: c } }', 'sets a, which the chart sets already'],
  [
    'workers',
    'commonLabels: { a: b }\nserviceMonitor: { enabled: true, labels: { a: c } }',
    'serviceMonitor.labels sets a',
  ],
  ['workers', 'broker: { extraMetadata: { streamName: EVENTS } }', "the stream of a topic has the topic's name"],
  ['workers', 'broker: { extraMetadata: { startTime: "1750000000" } }', 'would never be delivered'],
  ['workers', 'broker: { extraMetadata: { heartbeat: 10s } }', 'receives nothing from an existing consumer'],
  // Values that the API server would reject in the middle of an install, or that no program could read.
  ['member', 'jobs: { podAnnotations: { sidecar.istio.io/inject: false } }', 'sidecar.istio.io'],
  ['member', 'commonLabels: { cost-centre: 7 }', 'cost-centre'],
  ['member', 'image: { digest: abc }', 'digest'],
  ['member', 'image: { tag: "a/b c" }', 'tag'],
  ['member', 'database: { existingSecret: "" }', 'existingSecret'],
  ['member', 'ingress: { enabled: true, hosts: [{ host: a.example.com, paths: [{ path: v1 }] }] }', 'path'],
  ['member', 'dapr: { tracing: { samplingRate: 1 } }', 'samplingRate'],
  ['member', 'api: { podDisruptionBudget: { maxUnavailable: "0%" } }', 'maxUnavailable'],
  ['member', 'api: { podDisruptionBudget: { maxUnavailable: 0 } }', 'maxUnavailable'],
  ['member', 'broker: { address: "nats:99999" }', 'address'],
  ['member', 'broker: { address: "nats:04222" }', 'address'],
  ['member', 'broker: { extraMetadata: { "a-b": x } }', "'a-b'"],
  [
    'member',
    'api: { autoscaling: { enabled: true }, resources: { requests: { cpu: null } } }',
    'but it requests no CPU',
  ],
  [
    'workers',
    'workers: { publish-recorder: { autoscaling: { enabled: true }, resources: { requests: null } } }',
    'autoscaling of publish-recorder is enabled',
  ],
  ['member', 'api: { podAnnotations: { checksum/dapr: x } }', 'podAnnotations of member sets checksum/dapr'],
  ['member', 'api: { autoscaling: { enabled: true } }\nrelay: { resources: { requests: { cpu: null } } }', 'its relay'],
  [
    'workers',
    'defaults: { autoscaling: { enabled: true } }\ndapr: { resources: { requests: { cpu: null } } }',
    'its sidecar',
  ],
];

/** The values as one line that fits into a test's name. */
const labelOf = (values: string) => values.replaceAll('\n', ' ').slice(0, 60);

test.each(rejected.map(([chart, values, message]) => [chart, labelOf(values), values, message] as const))(
  'chart %s rejects %s',
  async (chart, _, values, message) => {
    await expect(render(helm, chart, values)).rejects.toThrow(message);
    await expect(render(oldHelm, chart, values)).rejects.toThrow(message);
  },
);

const accepted: readonly [chart: string, values: string][] = [
  ['member', 'broker: { address: "[2001:DB8::1]:4222,nats:65535" }'],
  ['member', 'api: { podDisruptionBudget: { maxUnavailable: 50% } }'],
  ['member', 'api: { podDisruptionBudget: { maxUnavailable: 100% } }'],
  ['member', 'api: { podAnnotations: { dapr.io/volume-mounts: "ca:/etc/ca" }, podLabels: { team: members } }'],
  ['member', 'api: { resources: { limits: { memory: null } } }'],
  ['member', 'api: { autoscaling: { enabled: true }, resources: { requests: { cpu: null }, limits: { cpu: "1" } } }'],
  ['workers', 'workers: { publish-recorder: {}, external-broadcaster: { replicas: 3 } }'],
  ['workers', 'commonLabels: { team: members }\ndefaults: { podLabels: { tier: back } }'],
  ['member', `image: { digest: sha256:${'0a'.repeat(32)} }`],
];

test.each(accepted.map(([chart, values]) => [chart, labelOf(values), values] as const))(
  'chart %s accepts %s',
  async (chart, _, values) => {
    expect((await render(helm, chart, values)).length).toBeGreaterThan(8);
  },
);
