import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { openDemoTarget } from '../../k8s/port-forward.ts';
import { playStory } from '../../local/story.ts';
import { root } from '../support/stack.ts';
import { expectInvariants } from './invariants.ts';

const FAMILIES = 'families';
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

const kubectl = (...args: string[]) => cluster.shell.kubectl(...args);
const uninstall = (namespace: string) =>
  cluster.shell.run(['helm', 'uninstall', 'family-account', '--namespace', namespace, '--ignore-not-found', '--wait']);
const create = (resource: object) =>
  cluster.shell.run(['kubectl', 'create', '--filename', '-'], { input: JSON.stringify(resource) });

const brokers = ['broker-family-account', 'broker-administrator'];

/** Creates a namespace with family-account's Secrets, whose database and broker have their cluster-wide host names. */
async function prepare(): Promise<void> {
  const namespace = readFileSync(join(root, 'k8s/namespace.yaml'), 'utf8').replaceAll(NAMESPACE, FAMILIES);
  await cluster.shell.run(['kubectl', 'apply', '--filename', '-'], { input: namespace });
  for (const name of ['family-account-database', ...brokers, 'family-account', 'dapr-api-token', 'app-api-token']) {
    const { data } = JSON.parse(await kubectl('--namespace', NAMESPACE, 'get', 'secret', name, '--output=json'));
    const stringData = Object.fromEntries(
      Object.entries<string>(data).map(([key, value]) => [
        key,
        Buffer.from(value, 'base64')
          .toString()
          .replace(/@(postgres|nats):/, `@$1.${NAMESPACE}:`),
      ]),
    );
    await create({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: FAMILIES }, stringData });
  }
}

test('family-account works in its own namespace, with member and broker in another', async () => {
  await using back = new AsyncDisposableStack();
  back.defer(async () => {
    await uninstall(FAMILIES);
    await kubectl('delete', 'namespace', FAMILIES, '--ignore-not-found');
    await Promise.all(['member', 'family-account'].map((chart) => installChart(cluster.shell, chart)));
  });
  // One app-id at a broker is one subscriber, wherever its pods are.
  await uninstall(NAMESPACE);
  const reader = `readers=[{"appId":"family-account","namespace":"${FAMILIES}"}]`;
  await Promise.all([prepare(), installChart(cluster.shell, 'member', '--set-json', reader)]);
  const flags = [
    '--namespace',
    FAMILIES,
    '--set',
    `memberAppId=member.${NAMESPACE},broker.address=nats.${NAMESPACE}:4222`,
  ];
  await installChart(cluster.shell, 'family-account', ...flags);

  const output = await cluster.shell.run(['helm', 'test', 'family-account', '--namespace', FAMILIES, '--logs']);
  expect(output).toMatch(/family-account \(.*All hops of family-account and member passed/s);
  await using target = await openDemoTarget(cluster.shell, NAMESPACE, FAMILIES);
  expect((await playStory(target, () => undefined)).length).toBeGreaterThan(10);
  await expectInvariants(cluster.shell);
}, 600_000);
