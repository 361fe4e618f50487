import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../support/stack.ts';
import { healthyCluster, healthyClusterWith, LISTENER, named, runDoctor, set } from './fake-cluster.ts';

/** Settings that the charts reject. */
const REJECTED: [kind: string, key: string, value: string][] = [
  ['jetstream', 'maxDeliver', '5'],
  ['jetstream', 'ackPolicy', 'none'],
  ['jetstream', 'memoryStorage', 'true'],
  ['jetstream', 'startSequence', '7'],
  ['jetstream', 'startTime', '1750000000'],
  ['redis', 'maxLenApprox', '1000'],
  ['rabbitmq', 'enableDeadLetter', 'true'],
  ['rabbitmq', 'maxLen', '1000'],
  ['rabbitmq', 'maxLenBytes', '1000'],
  ['rabbitmq', 'ttlInSeconds', '60'],
  ['kafka', 'consumeRetryEnabled', 'false'],
];

describe('The doctor finds settings that lose events', () => {
  test.each([
    ['jetstream', 'ackWait', undefined],
    ['jetstream', 'ackWait', '0s'],
    ['jetstream', 'backOff', undefined],
    ['jetstream', 'backOff', '15s,0,1m'],
    ['jetstream', 'durableName', 'member-external'],
    ['jetstream', 'durableName', '{appID}'],
    ['jetstream', 'deliverPolicy', 'new'],
    ['jetstream', 'concurrencyMode', 'parallel'],
    ...REJECTED,
    ['rabbitmq', 'consumerID', 'ours'],
    ['rabbitmq', 'publisherConfirm', undefined],
    ['rabbitmq', 'deliveryMode', '1'],
    ['rabbitmq', 'durable', undefined],
    ['rabbitmq', 'deletedWhenUnused', undefined],
    ['rabbitmq', 'autoAck', 'true'],
    ['rabbitmq', 'requeueInFailure', undefined],
    ['rabbitmq', 'prefetchCount', undefined],
    ['rabbitmq', 'prefetchCount', '0'],
    ['redis', 'consumerID', 'ours'],
    ['redis', 'processingTimeout', undefined],
    ['redis', 'processingTimeout', '0s'],
    ['redis', 'redeliverInterval', '0'],
    ['redis', 'redeliverInterval', '5s'],
    ['kafka', 'consumerGroup', 'ours'],
    ['kafka', 'initialOffset', undefined],
  ])('%s: %s is %s', async (kind, key, value) => {
    const cluster = await healthyClusterWith(kind);
    expect((await runDoctor(cluster)).findings).toEqual([]);
    set(cluster, LISTENER, key, value);
    const { findings } = await runDoctor(cluster);
    expect(findings).toEqual([
      { where: `Component ${LISTENER}`, what: expect.stringMatching(`^${key} is `), remedy: expect.any(String) },
    ]);
  });

  test('rabbitmq: a Subscription without a quorum queue', async () => {
    const cluster = await healthyClusterWith('rabbitmq');
    delete named(cluster.subscriptions, LISTENER).spec.metadata.queueType;
    expect((await runDoctor(cluster)).findings).toMatchObject([
      { where: `Subscription ${LISTENER}`, what: expect.stringMatching(/^has no quorum queue/) },
    ]);
  });

  test('jetstream: maxDeliver in any letter case', async () => {
    const cluster = healthyCluster();
    named(cluster.components, LISTENER).spec.metadata.push({ name: 'MAXDELIVER', value: '5' });
    expect((await runDoctor(cluster)).findings).toMatchObject([{ what: expect.stringMatching(/^maxDeliver is set/) }]);
  });

  test('every setting that the charts reject', () => {
    const template = readFileSync(join(root, 'charts/common/templates/_broker.tpl'), 'utf8');
    const losing = /\$losing := get \(dict(.*?)\) \.broker\.kind/s.exec(template)![1]!;
    const names = [...losing.matchAll(/"([a-z]+)" "[a-z]/g)].map(([, name]) => name!);
    expect(names.sort()).toEqual(REJECTED.map(([, key]) => key.toLowerCase()).sort());
  });

  test('jetstream: the last value of a duplicate setting', async () => {
    const cluster = healthyCluster();
    named(cluster.components, LISTENER).spec.metadata.push({ name: 'ackWait', value: '0' });
    expect((await runDoctor(cluster)).findings).toMatchObject([{ what: expect.stringMatching(/^ackWait is "0"/) }]);
    named(cluster.components, LISTENER).spec.metadata.push({ name: 'ackWait', value: '20s' });
    expect((await runDoctor(cluster)).findings).toEqual([]);
  });
});

test.each([
  ['jetstream', 'maxDeliver', '0'],
  ['jetstream', 'maxDeliver', '-1'],
  ['jetstream', 'ackWait', '15'],
  ['jetstream', 'ackPolicy', 'explicit'],
  ['jetstream', 'memoryStorage', 'false'],
  ['kafka', 'consumeRetryEnabled', 'true'],
  ['redis', 'maxLenApprox', '0'],
  ['redis', 'processingTimeout', '15s'],
  ['redis', 'redeliverInterval', undefined],
])('The doctor accepts %s with %s %s', async (kind, key, value) => {
  const cluster = await healthyClusterWith(kind);
  set(cluster, LISTENER, key, value);
  expect((await runDoctor(cluster)).findings).toEqual([]);
});
