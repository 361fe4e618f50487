import { helmPrograms, render } from '../support/helm.ts';

let helm: string;
let oldHelm: string;
beforeAll(async () => {
  [helm, oldHelm] = (await helmPrograms()) as [string, string];
});

// What would lose events, open what is to be closed, or never work.
test.each([
  ['member', 'relay: { resendAfterSeconds: 20 }', 'use at least 30'],
  ['workers', 'broker: { repairSeconds: 20 }', 'use at least 30'],
  ['family-account', 'broker: { deliverySeconds: 200 }', 'use at least 400'],
  ['member', 'shutdown: { gracePeriodSeconds: 30 }', 'pods would be killed in the middle of their work'],
  ['workers', 'dapr: { blockShutdownSeconds: 5 }', 'gone while its app still needs it'],
  ['workers', 'dapr: { blockShutdownSeconds: 40 }', 'it would be killed while it publishes'],
  ['member', 'shutdown: { drainSeconds: 25 }', 'pods would be killed in the middle of their work'],
  ['member', 'api: { replicas: 33 }', 'an outbox has 32 partitions'],
  ['member', 'api: { autoscaling: { enabled: true, maxReplicas: 40 } }', 'an outbox has 32 partitions'],
  ['member', 'api: { keda: { enabled: true, maxReplicas: 40 } }', 'an outbox has 32 partitions'],
  ['workers', 'defaults: { keda: { enabled: true }, autoscaling: { enabled: true } }', 'scale against each other'],
  ['member', 'broker: { deliverySeconds: 12 }', 'events again that are being worked on; use at least 13'],
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
  ['workers', 'broker: { extraMetadata: { maxDeliver: "5" } }', 'would be given up'],
  ['workers', 'broker: { kind: redis, extraMetadata: { maxLenApprox: "5" } }', 'a slow app has not read'],
  ['workers', 'broker: { kind: rabbitmq, extraMetadata: { enableDeadLetter: "true" } }', 'leave its queue for good'],
  ['workers', 'broker: { kind: kafka, extraMetadata: { consumeRetryEnabled: "false" } }', 'passed over'],
  ['workers', 'defaults: { keda: { enabled: true } }', 'name its monitoring endpoint'],
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
  ['member', 'api: { autoscaling: { enabled: true, maxReplicas: 1 } }', 'goes up to maxReplicas 1'],
  ['workers', 'workers: { publish-recorder: { keda: { enabled: true, minReplicas: 9, maxReplicas: 8 } } }', 'is 9'],
  ['workers', 'broker: { deliverySeconds: 1000000 }', 'deliverySeconds'],
  ['member', 'broker: { address: "nats:4222," }', 'address'],
  ['workers', 'broker: { address: "nats:4222,other" }', 'address'],
  ['family-account', 'networkPolicy: { enabled: true, apiServerPorts: [] }', 'apiServerPorts'],
  ['member', 'ingress: { enabled: true, hosts: [a.example.com] }', 'ingress/hosts'],
  ['member', 'ingress: { enabled: true, hosts: [{ host: a.example.com, path: /v1 }] }', 'path'],
  ['workers', 'broker: { extraSecretMetadata: { tls_client_cert: tls.crt } }', 'takes the name of a file there'],
  ['member', 'broker: { extraMetadata: { domain: hub } }', 'not with domain: create the streams yourself'],
  ['family-account', 'broker: { extraSecretMetadata: { jwt: j, seedKey: s } }', 'not with jwt, seedKey: create'],
])('refused, with a sentence: %s with %s', async (chart, values, sentence) => {
  await expect(render(helm, chart, values)).rejects.toThrow(sentence);
  await expect(render(oldHelm, chart, values)).rejects.toThrow(sentence);
});
