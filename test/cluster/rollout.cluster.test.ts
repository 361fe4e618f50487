import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NAMESPACE } from '../../k8s/cluster.ts';
import { IMAGE } from '../../k8s/image.ts';
import { openDemoTarget } from '../../k8s/port-forward.ts';
import { playStory } from '../../local/story.ts';
import { eraseConsumers } from '../e2e/broker.ts';
import { eventually } from '../support/eventually.ts';
import { checkOut, LAST_CHARTS } from '../support/release.ts';
import { root } from '../support/stack.ts';
import { asAdministrator } from './broker.ts';
import { expectInvariants } from './invariants.ts';
import { type LoadOptions, underLoad } from './load.ts';
import { expectNoImpactOf } from './no-impact.ts';
import { cluster, evict, kubectl, names, open, podsOf, replace, waitForRollouts } from './rollout-pods.ts';

const apis = ['member', 'family-account'];
const charts = ['member', 'workers', 'family-account'];
const installed = ['-l', 'app.kubernetes.io/managed-by=Helm'];
const currentTag = IMAGE.split(':')[1]!;
let deployments: string[];
beforeAll(async () => {
  await open();
  deployments = await names('deployments', ...installed);
  // Evicting the only pod of an API would interrupt it.
  await Promise.all(apis.map((api) => upgrade(api, 'api.replicas=2')));
}, 400_000);
afterAll(async () => {
  await Promise.all(apis.map((api) => upgrade(api, 'api.replicas=1')));
}, 400_000);

const helm = (...args: string[]) =>
  cluster.shell.run(['helm', ...args, '--namespace', NAMESPACE, '--wait', '--timeout', '5m']);
const upgrade = (chart: string, value: string) =>
  helm('upgrade', chart, join(root, 'charts', chart), '--reuse-values', '--set', value);

/** Installs all charts of a tree with its values and an image, and two pods of each API. */
const install = async (tree: string, tag: string) => {
  for (const chart of charts) {
    const values = ['--values', join(tree, 'k8s/values', `${chart}.yaml`), '--set', `image.tag=${tag}`];
    const replicas = apis.includes(chart) ? ['--set', 'api.replicas=2'] : [];
    await helm('upgrade', chart, join(tree, 'charts', chart), ...values, ...replicas);
  }
};

/** Creates the Secret that charts without accounts use for the broker, with a user in the streams' account. */
const shareOneUser = async () => {
  const { data } = JSON.parse(await kubectl('get', 'secret', 'broker-administrator', '--output=json'));
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'broker', namespace: NAMESPACE }, data };
  await cluster.shell.run(['kubectl', 'create', '--filename', '-'], { input: JSON.stringify(secret) });
};

const shuffled = <T>(items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);

const expectNoImpact = (change: () => Promise<void>, options?: LoadOptions) =>
  expectNoImpactOf(cluster.shell, change, options);

test('the story completes, and all Subscriptions exist', async () => {
  await using target = await openDemoTarget(cluster.shell, NAMESPACE);
  const traces = await playStory(target, () => undefined);
  expect(traces.length).toBeGreaterThan(10);
  await expectInvariants(cluster.shell);
  expect(await names('subscriptions.dapr.io')).toHaveLength(9);
}, 120_000);

test('replacing the pods of every app under load has no impact', async () => {
  expect(deployments).toHaveLength(7);
  await expectNoImpact(async () => {
    for (const api of apis) await replace(api);
    // These apps do not call each other.
    await replace(...deployments.filter((app) => !apis.includes(app)));
  });
}, 600_000);

test('scaling every app to three replicas and back under load has no impact', async () => {
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
    await expectNoImpact(async () => {
      await scale(3, 3);
      for (const app of deployments) expect(await podsOf(app)).toHaveLength(3);
      await delay(5_000);
      await scale(2, 1);
    });
  } finally {
    await scale(2, 1);
  }
}, 900_000);

test('changing the consumer settings and back under load has no impact', async () => {
  const subscribers = ['workers', 'family-account'];
  await using repair = new AsyncDisposableStack();
  repair.defer(() => install(root, currentTag));
  await expectNoImpact(async () => {
    const other = 'broker.deliverySeconds=20,broker.jetstream.maxAckPending=8';
    await Promise.all(subscribers.map((chart) => upgrade(chart, other)));
    await Promise.all(subscribers.map((chart) => helm('rollback', chart)));
  });
}, 600_000);

test('upgrading from the last released charts and back under load has no impact', async () => {
  const lastTag = `last-${LAST_CHARTS.slice(0, 12)}`;
  const expectTag = async (tag: string) => {
    const image = '{.items[*].spec.template.spec.containers[0].image}';
    const images = await kubectl('get', 'deployments', ...installed, `--output=jsonpath=${image}`);
    expect(images).toBe(Array(deployments.length).fill(`member-system:${tag}`).join(' '));
  };
  await using repair = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'member-system-release-'));
  repair.defer(() => rm(folder, { recursive: true }));
  const tree = await checkOut(LAST_CHARTS, join(folder, 'last'));
  await cluster.image(() => undefined, { tree, tag: `member-system:${lastTag}` });
  await shareOneUser();
  repair.defer(async () => void (await kubectl('delete', 'secret', 'broker')));
  repair.defer(() => install(root, currentTag));
  await install(tree, lastTag);
  await expectTag(lastTag);
  // The last charts have consumers that sidecars create, which deliver to inboxes.
  await asAdministrator(cluster.shell, eraseConsumers);
  await replace(...deployments);
  await expectNoImpact(
    async () => {
      await install(root, currentTag);
      await expectTag(currentTag);
      for (const chart of charts) await helm('rollback', chart);
      await expectTag(lastTag);
    },
    // The last family-account, at its shutdown, answers 503 on connections that were idle for two seconds.
    { connections: 'closed' },
  );
}, 1_200_000);

test('upgrading to native sidecars, replacing them and going back under load has no impact', async () => {
  await using repair = new AsyncDisposableStack();
  repair.defer(() => install(root, currentTag));
  await expectNoImpact(async () => {
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

test('deleting pods of all apps in random order under load has no impact', async () => {
  await expectNoImpact(async () => {
    for (const app of shuffled([...deployments, ...apis])) {
      const [pod] = shuffled(await podsOf(app));
      await kubectl('delete', 'pod', pod!, '--wait=false');
      await delay(1_000);
      await waitForRollouts([app]);
    }
  });
}, 600_000);

test('relays that crash in the middle of their work and restart have no impact', async () => {
  const ofRelay = async (pod: string, what: string) => {
    const path = `{.status.containerStatuses[?(@.name=="relay")].${what}}`;
    return Number(await kubectl('get', 'pod', pod, `--output=jsonpath=${path}`));
  };
  // The second signal makes it exit at once, without finishing its work.
  const crash = 'process.kill(1, "SIGTERM"); process.kill(1, "SIGINT")';
  await expectNoImpact(async () => {
    for (const app of apis)
      for (const pod of await podsOf(app)) {
        const before = await ofRelay(pod, 'restartCount');
        await kubectl('exec', pod, '--container', 'relay', '--', 'node', '--eval', crash).catch(() => undefined);
        const restarted = async () => expect(await ofRelay(pod, 'restartCount')).toBe(before + 1);
        await eventually(restarted, { timeoutMs: 60_000 });
        expect(await ofRelay(pod, 'lastState.terminated.exitCode')).toBe(1);
        await waitForRollouts([app]);
      }
  });
}, 300_000);

test('pods killed without a grace period fail requests but lose no event', async () => {
  const { rounds } = await underLoad(cluster.shell, async () => {
    for (const app of shuffled(deployments)) {
      const [pod] = shuffled(await podsOf(app));
      await kubectl('delete', 'pod', pod!, '--force', '--grace-period=0');
      await delay(1_000);
      await waitForRollouts([app]);
    }
  });
  expect(rounds).toBeGreaterThan(20);
  await expectInvariants(cluster.shell);
}, 600_000);

test.each(apis)(
  'evicting a pod of the %s API has no impact, and a second eviction is denied',
  async (api) => {
    await eventually(async () => expect(await podsOf(api)).toHaveLength(2), { timeoutMs: 60_000 });
    const [first, second] = (await podsOf(api)) as [string, string];
    await expectNoImpact(async () => {
      await evict(first);
      await expect(evict(second)).rejects.toThrow(/disruption budget/);
      await waitForRollouts([api]);
    });
  },
  300_000,
);

test('evicting a worker has no impact: its events wait at the broker', async () => {
  const [pod] = await podsOf('publish-recorder');
  await expectNoImpact(async () => {
    await evict(pod!);
    await delay(1_000);
    await waitForRollouts(['publish-recorder']);
  });
}, 300_000);
