import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { charts } from '../../docs/charts.ts';
import { helmPrograms, type Manifest, render } from '../support/helm.ts';
import { root } from '../support/stack.ts';
import { ofKind } from './manifests.ts';

let helm: string;
beforeAll(async () => {
  [helm] = (await helmPrograms()) as [string];
});

const byName = (manifests: readonly Manifest[]) =>
  Object.fromEntries(manifests.map(({ metadata, scopes, spec }) => [metadata.name, { scopes, spec }]));
const renderAll = async (values = '') => (await Promise.all(charts.map((chart) => render(helm, chart, values)))).flat();
const onLaptop = (file: string): Manifest[] =>
  parseAllDocuments(readFileSync(join(root, 'components', file), 'utf8')).map((it) => it.toJS());
const metadataOf = ({ spec }: Manifest): Record<string, string | undefined> =>
  Object.fromEntries(spec.metadata.map(({ name, value }: { name: string; value?: string }) => [name, value]));

describe('The Dapr resources of the charts', () => {
  test('have the same Components as the laptop', async () => {
    const laptop = readdirSync(join(root, 'components/jetstream')).flatMap((file) => onLaptop(`jetstream/${file}`));
    expect(byName(ofKind(await renderAll(), 'Component'))).toEqual(byName(laptop));
  });

  test('have the same Subscriptions as the laptop', async () => {
    expect(byName(ofKind(await renderAll(), 'Subscription'))).toEqual(byName(onLaptop('subscriptions.yaml')));
  });

  test('have the same Resiliency as the laptop', async () => {
    const [{ spec }] = onLaptop('resiliency.yaml') as [Manifest];
    const cluster = ofKind(await renderAll(), 'Resiliency').map((it) => it.spec);
    for (const { policies } of cluster) expect(policies).toEqual(spec.policies);
    expect(Object.assign({}, ...cluster.map(({ targets }) => targets.components))).toEqual(spec.targets.components);
  });
});

describe('The charts with any broker', () => {
  test.each(['jetstream', 'redis', 'rabbitmq', 'kafka'])('have the same topics for the same apps: %s', async (kind) => {
    const given = byName(ofKind(await renderAll(), 'Component'));
    const components = ofKind(await renderAll(`broker: { kind: ${kind} }`), 'Component');
    expect(components.map((it) => it.spec.type)).toEqual(components.map(() => `pubsub.${kind}`));
    const scopes = ({ metadata }: { metadata: { name: string; value: string }[] }) =>
      metadata.filter(({ name }) => /Scopes|Topics/.test(name));
    for (const { metadata, scopes: apps, spec } of components) {
      expect(apps).toEqual(given[metadata.name]!.scopes);
      expect(scopes(spec)).toEqual(scopes(given[metadata.name]!.spec));
    }
  });

  test('refer to credentials in the sidecar’s environment, which come from a Secret', async () => {
    for (const kind of ['jetstream', 'redis', 'rabbitmq', 'kafka']) {
      const manifests = await renderAll(`broker: { kind: ${kind} }`);
      const references = ofKind(manifests, 'Component').flatMap((it) =>
        it.spec.metadata.flatMap(({ envRef }: { envRef?: string }) => envRef ?? []),
      );
      expect(references.length).toBeGreaterThan(0);
      for (const { spec } of ofKind(manifests, 'Deployment')) {
        const given: string = spec.template.metadata.annotations['dapr.io/env-from-secret'];
        const names = given.split(',').map((pair) => /^(\w+)=broker-[\w-]+:\w+$/.exec(pair)?.[1]);
        expect(names.sort()).toEqual([...new Set(references)].sort());
      }
    }
  });

  test('add extra metadata from the values and from the Secret', async () => {
    for (const kind of ['jetstream', 'redis', 'rabbitmq', 'kafka']) {
      const more =
        'extraMetadata: { plain: 1000000, words: "1e6" }, extraSecretMetadata: { private.cert: tls.crt, caCert: ca.crt }';
      const manifests = await renderAll(`broker: { kind: ${kind}, ${more} }`);
      for (const { spec } of ofKind(manifests, 'Component'))
        expect(spec.metadata).toEqual(
          expect.arrayContaining([
            { name: 'plain', value: '1000000' },
            { name: 'words', value: '1e6' },
            { name: 'private.cert', envRef: 'BROKER_PRIVATE_CERT' },
            { name: 'caCert', envRef: 'BROKER_CACERT' },
          ]),
        );
      for (const { spec } of ofKind(manifests, 'Deployment'))
        expect(spec.template.metadata.annotations['dapr.io/env-from-secret'].split(',')).toEqual(
          expect.arrayContaining(
            ['BROKER_PRIVATE_CERT', 'BROKER_CACERT'].map((name) =>
              expect.stringMatching(`^${name}=broker-[\\w-]+:(tls|ca).crt$`),
            ),
          ),
        );
    }
  });

  test('override defaults of the broker that would lose messages or stop', async () => {
    const of = async (kind: string) =>
      metadataOf(ofKind(await renderAll(`broker: { kind: ${kind} }`), 'Component')[0]!);
    expect(await of('redis')).toMatchObject({
      processingTimeout: '15000',
      redeliverInterval: '5000',
      streamTTL: '168h',
    });
    expect(await of('redis')).not.toHaveProperty('maxLenApprox');
    expect(await of('rabbitmq')).toMatchObject({
      publisherConfirm: 'true',
      deliveryMode: '2',
      durable: 'true',
      deletedWhenUnused: 'false',
      requeueInFailure: 'true',
      autoAck: 'false',
    });
    expect(Number((await of('rabbitmq')).prefetchCount)).toBeGreaterThan(0);
    expect(await of('kafka')).toMatchObject({ initialOffset: 'oldest', consumerGroup: '{appID}' });
    expect(await of('jetstream')).toMatchObject({ ackWait: '15s', concurrencyMode: 'single' });
    for (const { spec } of ofKind(await renderAll('broker: { kind: rabbitmq }'), 'Subscription'))
      expect(spec.metadata).toEqual({ queueType: 'quorum', rawPayload: 'true' });
  });
});

test('a Subscription has labels with its app and topic', async () => {
  const subscriptions = ofKind(await renderAll('commonLabels: { team: identity }'), 'Subscription');
  expect(subscriptions.length).toBe(9);
  for (const { metadata, scopes, spec } of subscriptions)
    expect(metadata.labels).toMatchObject({
      'app.kubernetes.io/name': scopes![0],
      'app.kubernetes.io/part-of': 'member-system',
      'member-system/topic': spec.topic,
      team: 'identity',
    });
});

test('exactly the resources that sidecars read have the label eventing', async () => {
  const all = await renderAll();
  const read = all.filter(({ metadata }) => metadata.labels?.['app.kubernetes.io/component'] === 'eventing');
  expect(read).toEqual(all.filter(({ apiVersion }) => apiVersion.startsWith('dapr.io/')));
  expect(new Set(read.map(({ kind }) => kind)).size).toBe(4);
});

test('a changed Dapr resource replaces the pods, and sidecars never reload it', async () => {
  const before = await render(helm, 'member');
  const after = await render(helm, 'member', 'broker: { deliverySeconds: 20 }');
  for (const { spec } of ofKind(await renderAll(), 'Configuration'))
    expect(spec.features).toEqual([{ name: 'HotReload', enabled: false }]);
  const checksum = (manifests: Manifest[]) =>
    ofKind(manifests, 'Deployment')[0]!.spec.template.metadata.annotations['checksum/dapr'];
  expect(checksum(before)).toMatch(/^[0-9a-f]{64}$/);
  expect(checksum(after)).not.toBe(checksum(before));
  // The checksum covers an app's Subscriptions too, so each worker has its own.
  const perWorker = async (values: string) =>
    new Set(
      ofKind(await render(helm, 'workers', values), 'Deployment').map(
        ({ spec }) => spec.template.metadata.annotations['checksum/dapr'],
      ),
    );
  expect((await perWorker('{}')).size).toBe(5);
});
