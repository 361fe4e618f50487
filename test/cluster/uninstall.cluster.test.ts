import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { eventually } from '../support/eventually.ts';

const charts = ['member', 'workers', 'family-account'];
let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

/** Everything in the namespace that a chart has made, hooks of it included. */
async function ofCharts(): Promise<string[]> {
  const kinds = await cluster.shell.kubectl('api-resources', '--namespaced', '--verbs=list', '--output=name');
  const wanted = kinds.split('\n').filter((kind) => kind && !/^(events|.*metrics)/.test(kind));
  const query = ['get', wanted.join(','), '--ignore-not-found', '--output=name'];
  const found = await cluster.shell.kubectl(
    '--namespace',
    NAMESPACE,
    ...query,
    '-l',
    `app.kubernetes.io/instance in (${charts.join(',')})`,
  );
  return found.split('\n').filter(Boolean);
}

test('removing the charts leaves nothing of theirs, and what they were given; they can be installed again', async () => {
  expect((await ofCharts()).length).toBeGreaterThan(40);
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
