import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { eventually } from '../support/eventually.ts';

const charts = ['member', 'workers', 'family-account'];
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

/** Everything that a chart has made, in the namespace and beyond it, hooks of it included. */
async function ofCharts(): Promise<string[]> {
  const of = ['-l', `app.kubernetes.io/instance in (${charts.join(',')})`, '--ignore-not-found', '--output=name'];
  const found = async (namespaced: boolean) => {
    const kinds = await cluster.shell.kubectl(
      ...['api-resources', `--namespaced=${namespaced}`, '--verbs=list', '--output=name'],
    );
    const wanted = kinds.split('\n').filter((kind) => kind && !/^(events|.*metrics)/.test(kind));
    return cluster.shell.kubectl('--namespace', NAMESPACE, 'get', wanted.join(','), ...of);
  };
  return `${await found(true)}${await found(false)}`.split('\n').filter(Boolean);
}

test('removing the charts leaves nothing of theirs, and what they were given; they can be installed again', async () => {
  // What is not in the namespace is more easily forgotten.
  for (const chart of ['member', 'family-account'])
    await installChart(cluster.shell, chart, '--set', 'doctor.readDefinitions=true');
  const made = await ofCharts();
  expect(made.length).toBeGreaterThan(40);
  expect(made.filter((name) => name.startsWith('clusterrole'))).toHaveLength(4);
  const secrets = () =>
    cluster.shell.kubectl('--namespace', NAMESPACE, 'get', 'secrets', '--output=name', '--field-selector=type=Opaque');
  const given = await secrets();
  await cluster.shell.run(['helm', 'uninstall', ...charts, '--namespace', NAMESPACE, '--wait', '--timeout', '3m']);
  // What Helm keeps of its tests, for their logs.
  await cluster.shell.kubectl(
    ...['--namespace', NAMESPACE, 'delete', 'pod', 'member-canary', 'family-account-canary', '--ignore-not-found'],
  );
  // Pods take their time to end.
  await eventually(async () => expect(await ofCharts()).toEqual([]), { timeoutMs: 60_000 });
  expect(await secrets()).toBe(given);
  for (const chart of charts) await installChart(cluster.shell, chart);
}, 600_000);
