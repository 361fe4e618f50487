import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { IMAGE } from '../../k8s/image.ts';
import { openStage } from '../../k8s/stage.ts';
import { playStory } from '../../local/story.ts';
import { eventually } from '../support/eventually.ts';
import { checkOut, LAST_CHARTS } from '../support/release.ts';
import { root } from '../support/stack.ts';
import { attempts, invariants, repeats } from './invariants.ts';
import { underLoad } from './load.ts';

const apis = ['member', 'family-account'];
const charts = ['member', 'workers', 'family-account'];
let cluster: Cluster;
let deployments: string[];
beforeAll(async () => {
  cluster = await current();
  deployments = await names('deployments', '-l', 'app.kubernetes.io/managed-by=Helm');
  // A single one of an API cannot be evicted without being missed.
  await Promise.all(apis.map((api) => upgrade(api, 'api.replicas=2')));
}, 400_000);
afterAll(async () => {
  await Promise.all(apis.map((api) => upgrade(api, 'api.replicas=1')));
}, 400_000);

const helm = (...args: string[]) =>
  cluster.shell.run(['helm', ...args, '--namespace', NAMESPACE, '--wait', '--timeout', '5m']);
const upgrade = (chart: string, value: string) =>
  helm('upgrade', chart, join(root, 'charts', chart), '--reuse-values', '--set', value);

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
const names = async (...query: string[]): Promise<string[]> =>
  (await kubectl('get', ...query, '--output=jsonpath={.items[*].metadata.name}')).split(' ').filter(Boolean);
const podsOf = (app: string) =>
  names('pods', '-l', `app.kubernetes.io/name=${app}`, '--field-selector=status.phase=Running');
const settled = async (apps: readonly string[]) => {
  for (const app of apps) await kubectl('rollout', 'status', `deployment/${app}`, '--timeout=180s');
};
const replace = async (...apps: string[]) => {
  await kubectl('rollout', 'restart', ...apps.map((app) => `deployment/${app}`));
  await settled(apps);
};

/** Whatever happens meanwhile, callers do not feel it, all that they did has come true in the end, and no attempt was spent. */
async function nobodyNotices(happens: () => Promise<void>): Promise<void> {
  const [before, repeatsBefore] = [await attempts(cluster.shell), await repeats(cluster.shell)];
  const { failures, ...outcome } = await underLoad(cluster.shell, async () => {
    await delay(2_000);
    await happens();
    await delay(2_000);
  });
  // Each answer names its own trace.
  const kinds = new Set(Object.keys(failures).map((what) => what.replace(/urn:trace:.*/, '')));
  expect({ kinds: [...kinds], count: Object.values(failures).length }).toEqual({ kinds: [], count: 0 });
  expect(outcome.rounds).toBeGreaterThan(20);
  await invariants(cluster.shell);
  const repeated = (await repeats(cluster.shell)) - repeatsBefore;
  process.stdout.write(`${expect.getState().currentTestName}: ${JSON.stringify({ ...outcome, repeated })}\n`);
  expect(await attempts(cluster.shell)).toBe(before);
}

test('the story comes true, and the subscriptions are there to see', async () => {
  await using stage = await openStage(cluster.shell, NAMESPACE);
  const journeys = await playStory(stage, () => undefined);
  expect(journeys.length).toBeGreaterThan(10);
  await invariants(cluster.shell);
  expect(await names('subscriptions.dapr.io')).toHaveLength(9);
}, 120_000);

test('every app is replaced under load', async () => {
  expect(deployments).toHaveLength(7);
  await nobodyNotices(async () => {
    for (const api of apis) await replace(api);
    // They do not ask each other.
    await replace(...deployments.filter((app) => !apis.includes(app)));
  });
}, 600_000);

test('three replicas of everything, and back, under load', async () => {
  const [api, defaults] = ['api.replicas', 'defaults.replicas'];
  const scale = async (count: number, workers: number) => {
    for (const [chart, value] of [
      ['member', `${api}=${count}`],
      ['workers', `${defaults}=${workers}`],
      ['family-account', `${api}=${count}`],
    ] as const)
      await upgrade(chart, value);
  };
  try {
    await nobodyNotices(async () => {
      await scale(3, 3);
      for (const app of deployments) expect(await podsOf(app)).toHaveLength(3);
      await delay(5_000);
      await scale(2, 1);
    });
  } finally {
    await scale(2, 1);
  }
}, 900_000);

test('an upgrade from what people can have installed, and the way back, under load', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'member-system-release-'));
  try {
    const tree = await checkOut(LAST_CHARTS, join(folder, 'last'));
    const tag = `last-${LAST_CHARTS.slice(0, 12)}`;
    await cluster.image(() => undefined, { tree, tag: `member-system:${tag}` });
    const imageOf = () =>
      kubectl(
        'get',
        'deployments',
        '-l',
        'app.kubernetes.io/managed-by=Helm',
        '--output=jsonpath={.items[*].spec.template.spec.containers[0].image}',
      );
    const each = (image: string) => Array(deployments.length).fill(image).join(' ');
    const [ours, theirs] = [each(IMAGE), each(`member-system:${tag}`)];
    const install = async (from: string, imageTag: string) => {
      for (const chart of charts) {
        const values = ['--values', join(from, 'k8s/values', `${chart}.yaml`), '--set', `image.tag=${imageTag}`];
        const replicas = apis.includes(chart) ? ['--set', 'api.replicas=2'] : [];
        await helm('upgrade', chart, join(from, 'charts', chart), ...values, ...replicas);
      }
    };
    await install(tree, tag);
    expect(await imageOf()).toBe(theirs);
    await nobodyNotices(async () => {
      await install(root, IMAGE.split(':')[1]!);
      expect(await imageOf()).toBe(ours);
      for (const chart of charts) await helm('rollback', chart);
      expect(await imageOf()).toBe(theirs);
    });
    await install(root, IMAGE.split(':')[1]!);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 1_200_000);

test('an upgrade to native sidecars, their replacement, and the way back, under load', async () => {
  await nobodyNotices(async () => {
    for (const chart of charts) await upgrade(chart, 'dapr.nativeSidecar=true,commonLabels.revision=next');
    expect(await names('deployments', '-l', 'revision=next')).toEqual(deployments);
    await replace(...deployments);
    for (const app of deployments) {
      const [pod] = await names('pods', '-l', `app.kubernetes.io/name=${app},revision=next`);
      expect(await kubectl('get', 'pod', pod!, '--output=jsonpath={.spec.initContainers[*].name}')).toBe('daprd');
    }
    for (const chart of charts) await helm('rollback', chart);
    expect(await names('deployments', '-l', 'revision=next')).toEqual([]);
  });
}, 900_000);

test('pods that are deleted, one of each app at a time, are not missed', async () => {
  await nobodyNotices(async () => {
    for (const app of deployments) {
      const [pod] = await podsOf(app);
      await kubectl('delete', 'pod', pod!, '--wait=false');
      await delay(1_000);
      await settled([app]);
    }
  });
}, 600_000);

test('evictions leave enough of an API', async () => {
  const evict = (pod: string) =>
    cluster.shell.run(
      ['kubectl', 'create', '--raw', `/api/v1/namespaces/${NAMESPACE}/pods/${pod}/eviction`, '--filename', '-'],
      {
        input: JSON.stringify({
          apiVersion: 'policy/v1',
          kind: 'Eviction',
          metadata: { name: pod, namespace: NAMESPACE },
        }),
      },
    );
  await eventually(async () => expect(await podsOf('member')).toHaveLength(2), { timeoutMs: 60_000 });
  const [first, second] = (await podsOf('member')) as [string, string];
  await nobodyNotices(async () => {
    await evict(first);
    await expect(evict(second)).rejects.toThrow(/disruption budget/);
    await settled(['member']);
  });
}, 300_000);
