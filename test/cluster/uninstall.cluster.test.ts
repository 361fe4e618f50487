import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { eventually } from '../support/eventually.ts';

const charts = ['member', 'workers', 'family-account'];
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

/** Returns all resources of the charts, including cluster-wide ones and hooks. */
async function resourcesOfCharts(): Promise<string[]> {
  const selector = ['-l', `app.kubernetes.io/instance in (${charts.join(',')})`, '--ignore-not-found', '--output=name'];
  const found = async (namespaced: boolean) => {
    const kinds = await cluster.shell.kubectl(
      ...['api-resources', `--namespaced=${namespaced}`, '--verbs=list', '--output=name'],
    );
    const listed = kinds.split('\n').filter((kind) => kind && !/^(events|.*metrics)/.test(kind));
    return cluster.shell.kubectl('--namespace', NAMESPACE, 'get', listed.join(','), ...selector);
  };
  return `${await found(true)}${await found(false)}`.split('\n').filter(Boolean);
}

test('uninstalling the charts removes their resources but no Secrets, and allows to reinstall', async () => {
  // With cluster-wide resources, which are more easily forgotten.
  for (const chart of ['member', 'family-account'])
    await installChart(cluster.shell, chart, '--set', 'doctor.readDefinitions=true');
  const created = await resourcesOfCharts();
  expect(created.length).toBeGreaterThan(40);
  expect(created.filter((name) => name.startsWith('clusterrole'))).toHaveLength(4);
  const secrets = () =>
    cluster.shell.kubectl('--namespace', NAMESPACE, 'get', 'secrets', '--output=name', '--field-selector=type=Opaque');
  const secretsBefore = await secrets();
  await cluster.shell.run(['helm', 'uninstall', ...charts, '--namespace', NAMESPACE, '--wait', '--timeout', '3m']);
  // Helm keeps the pods of its tests for their logs.
  await cluster.shell.kubectl(
    ...['--namespace', NAMESPACE, 'delete', 'pod', 'member-canary', 'family-account-canary', '--ignore-not-found'],
  );
  // Pods take a while to end.
  await eventually(async () => expect(await resourcesOfCharts()).toEqual([]), { timeoutMs: 60_000 });
  expect(await secrets()).toBe(secretsBefore);
  for (const chart of charts) await installChart(cluster.shell, chart);
}, 600_000);
