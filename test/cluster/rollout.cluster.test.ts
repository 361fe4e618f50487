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
const installed = ['-l', 'app.kubernetes.io/managed-by=Helm'];
const ours = IMAGE.split(':')[1]!;
let cluster: Cluster;
let deployments: string[];
beforeAll(async () => {
  cluster = await current();
  deployments = await names('deployments', ...installed);
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
/** All charts of a tree, with its values and an image, and both APIs able to lose a pod. */
const install = async (tree: string, tag: string) => {
  for (const chart of charts) {
    const values = ['--values', join(tree, 'k8s/values', `${chart}.yaml`), '--set', `image.tag=${tag}`];
    const replicas = apis.includes(chart) ? ['--set', 'api.replicas=2'] : [];
    await helm('upgrade', chart, join(tree, 'charts', chart), ...values, ...replicas);
  }
};

/** Those of an app that run, and are to run on. */
const podsOf = async (app: string): Promise<string[]> => {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-l', `app.kubernetes.io/name=${app}`, '--output=json'));
  return (items as Pod[])
    .filter(({ metadata, status }) => status.phase === 'Running' && !metadata.deletionTimestamp)
    .map(({ metadata }) => metadata.name);
};
interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly phase: string };
}
const settled = async (apps: readonly string[]) => {
  for (const app of apps) await kubectl('rollout', 'status', `deployment/${app}`, '--timeout=180s');
};
const replace = async (...apps: string[]) => {
  await kubectl('rollout', 'restart', ...apps.map((app) => `deployment/${app}`));
  await settled(apps);
};

const shuffled = <T>(items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
/** As a node is drained, which PodDisruptionBudgets can refuse. */
const evict = async (pod: string) => {
  const metadata = { name: pod, namespace: NAMESPACE };
  const eviction = JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata });
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/${pod}/eviction`;
  await cluster.shell.run(['kubectl', 'create', '--raw', path, '--filename', '-'], { input: eviction });
};

/** Whatever happens meanwhile, callers do not feel it, all that they did has come true in the end, and no attempt was spent. */
async function nobodyNotices(happens: () => Promise<void>, options?: Parameters<typeof underLoad>[2]): Promise<void> {
  const [before, repeatsBefore] = [await attempts(cluster.shell), await repeats(cluster.shell)];
  const meanwhile = async () => {
    await delay(2_000);
    await happens();
    await delay(2_000);
  };
  const { failures, ...outcome } = await underLoad(cluster.shell, meanwhile, options);
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

test('what sidecars ask the broker for is changed under load, and changed back', async () => {
  const subscribers = ['workers', 'family-account'];
  await using repair = new AsyncDisposableStack();
  repair.defer(() => install(root, ours));
  await nobodyNotices(async () => {
    const other = 'broker.deliverySeconds=20,broker.jetstream.maxAckPending=8';
    await Promise.all(subscribers.map((chart) => upgrade(chart, other)));
    await Promise.all(subscribers.map((chart) => helm('rollback', chart)));
  });
}, 600_000);

test('an upgrade from what people can have installed, and the way back, under load', async () => {
  const theirs = `last-${LAST_CHARTS.slice(0, 12)}`;
  const allAre = async (tag: string) => {
    const image = '{.items[*].spec.template.spec.containers[0].image}';
    const images = await kubectl('get', 'deployments', ...installed, `--output=jsonpath=${image}`);
    expect(images).toBe(Array(deployments.length).fill(`member-system:${tag}`).join(' '));
  };
  await using repair = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'member-system-release-'));
  repair.defer(() => rm(folder, { recursive: true }));
  const tree = await checkOut(LAST_CHARTS, join(folder, 'last'));
  await cluster.image(() => undefined, { tree, tag: `member-system:${theirs}` });
  repair.defer(() => install(root, ours));
  await install(tree, theirs);
  await allAre(theirs);
  await nobodyNotices(
    async () => {
      await install(root, ours);
      await allAre(ours);
      for (const chart of charts) await helm('rollback', chart);
      await allAre(theirs);
    },
    // Their family-account, when it leaves, answers 503 on connections that have been idle for two seconds.
    { connections: 'closed' },
  );
}, 1_200_000);

test('an upgrade to native sidecars, their replacement, and the way back, under load', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(() => install(root, ours));
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

test('pods that are deleted, now of this app and now of that, are not missed', async () => {
  await nobodyNotices(async () => {
    for (const app of shuffled([...deployments, ...apis])) {
      const [pod] = shuffled(await podsOf(app));
      await kubectl('delete', 'pod', pod!, '--wait=false');
      await delay(1_000);
      await settled([app]);
    }
  });
}, 600_000);

test('relays that end in the middle of their work, and are started again beside their APIs, are not missed', async () => {
  const ofRelay = async (pod: string, what: string) => {
    const path = `{.status.containerStatuses[?(@.name=="relay")].${what}}`;
    return Number(await kubectl('get', 'pod', pod, `--output=jsonpath=${path}`));
  };
  // The second signal has it exit at once, with what it has begun unfinished.
  const crash = 'process.kill(1, "SIGTERM"); process.kill(1, "SIGINT")';
  await nobodyNotices(async () => {
    for (const app of apis)
      for (const pod of await podsOf(app)) {
        const before = await ofRelay(pod, 'restartCount');
        await kubectl('exec', pod, '--container', 'relay', '--', 'node', '--eval', crash).catch(() => undefined);
        const restarted = async () => expect(await ofRelay(pod, 'restartCount')).toBe(before + 1);
        await eventually(restarted, { timeoutMs: 60_000 });
        expect(await ofRelay(pod, 'lastState.terminated.exitCode')).toBe(1);
        await settled([app]);
      }
  });
}, 300_000);

test('of pods that are killed without a warning callers notice, and nothing is lost', async () => {
  const { rounds } = await underLoad(cluster.shell, async () => {
    for (const app of shuffled(deployments)) {
      const [pod] = shuffled(await podsOf(app));
      await kubectl('delete', 'pod', pod!, '--force', '--grace-period=0');
      await delay(1_000);
      await settled([app]);
    }
  });
  expect(rounds).toBeGreaterThan(20);
  await invariants(cluster.shell);
}, 600_000);

test.each(apis)(
  'evictions leave enough of the API of %s',
  async (api) => {
    await eventually(async () => expect(await podsOf(api)).toHaveLength(2), { timeoutMs: 60_000 });
    const [first, second] = (await podsOf(api)) as [string, string];
    await nobodyNotices(async () => {
      await evict(first);
      await expect(evict(second)).rejects.toThrow(/disruption budget/);
      await settled([api]);
    });
  },
  300_000,
);

test('a worker that is evicted is not missed: its events wait at the broker', async () => {
  const [pod] = await podsOf('publish-recorder');
  await nobodyNotices(async () => {
    await evict(pod!);
    await delay(1_000);
    await settled(['publish-recorder']);
  });
}, 300_000);
