import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../../support/stack.ts';
import { LISTENER, look, named, set, well, wellWith } from './world.ts';

/** What the charts refuse to set. */
const REFUSED: [kind: string, key: string, value: string][] = [
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

describe('found: what loses events with the settings of', () => {
  test.each([
    ['jetstream', 'ackWait', undefined],
    ['jetstream', 'ackWait', '0s'],
    ['jetstream', 'backOff', undefined],
    ['jetstream', 'backOff', '15s,0,1m'],
    ['jetstream', 'durableName', 'member-external'],
    ['jetstream', 'durableName', '{appID}'],
    ['jetstream', 'deliverPolicy', 'new'],
    ['jetstream', 'concurrencyMode', 'parallel'],
    ...REFUSED,
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
  ])('%s: %s %s', async (kind, key, value) => {
    const world = await wellWith(kind);
    expect((await look(world)).findings).toEqual([]);
    set(world, LISTENER, key, value);
    const { findings } = await look(world);
    expect(findings).toEqual([
      { where: `Component ${LISTENER}`, what: expect.stringMatching(`^${key} is `), remedy: expect.any(String) },
    ]);
  });

  test('rabbitmq: a Subscription without a quorum queue', async () => {
    const world = await wellWith('rabbitmq');
    delete named(world.subscriptions, LISTENER).spec.metadata.queueType;
    expect((await look(world)).findings).toMatchObject([
      { where: `Subscription ${LISTENER}`, what: expect.stringMatching(/^has no quorum queue/) },
    ]);
  });

  test('jetstream: whatever its letters', async () => {
    const world = well();
    named(world.components, LISTENER).spec.metadata.push({ name: 'MAXDELIVER', value: '5' });
    expect((await look(world)).findings).toMatchObject([{ what: expect.stringMatching(/^maxDeliver is set/) }]);
  });

  test('all that the charts refuse', () => {
    const template = readFileSync(join(root, 'charts/common/templates/_broker.tpl'), 'utf8');
    const losing = /\$losing := get \(dict(.*?)\) \.broker\.kind/s.exec(template)![1]!;
    const names = [...losing.matchAll(/"([a-z]+)" "[a-z]/g)].map(([, name]) => name!);
    expect(names.sort()).toEqual(REFUSED.map(([, key]) => key.toLowerCase()).sort());
  });

  test('jetstream: the last, when one is there twice', async () => {
    const world = well();
    named(world.components, LISTENER).spec.metadata.push({ name: 'ackWait', value: '0' });
    expect((await look(world)).findings).toMatchObject([{ what: expect.stringMatching(/^ackWait is "0"/) }]);
    named(world.components, LISTENER).spec.metadata.push({ name: 'ackWait', value: '20s' });
    expect((await look(world)).findings).toEqual([]);
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
])('nothing is found of %s with %s %s', async (kind, key, value) => {
  const world = await wellWith(kind);
  set(world, LISTENER, key, value);
  expect((await look(world)).findings).toEqual([]);
});
