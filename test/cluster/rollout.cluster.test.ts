import { setTimeout as delay } from 'node:timers/promises';
import { installChart, NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';
import { openStage } from '../../k8s/stage.ts';
import { playStory } from '../../local/story.ts';
import { attempts, invariants } from './invariants.ts';
import { underLoad } from './load.ts';

let cluster: Cluster;
beforeAll(async () => {
  cluster = await current();
});

const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);

test('the story comes true', async () => {
  await using stage = await openStage(cluster.shell, NAMESPACE);
  const journeys = await playStory(stage, () => undefined);
  expect(journeys.length).toBeGreaterThan(10);
  await invariants(cluster.shell);
}, 120_000);

test('every app is replaced under load: no request fails, nothing is lost, nothing is given up', async () => {
  const deployments = (await kubectl('get', 'deployments', '--output=name', '-l', 'app.kubernetes.io/managed-by=Helm'))
    .trim()
    .split('\n');
  expect(deployments).toHaveLength(7);
  const before = await attempts(cluster.shell);
  const { failures, rounds } = await underLoad(cluster.shell, async () => {
    await delay(3_000);
    for (const deployment of deployments) {
      await kubectl('rollout', 'restart', deployment);
      await kubectl('rollout', 'status', deployment, '--timeout=180s');
    }
    await delay(3_000);
  });
  expect(failures).toEqual({});
  expect(rounds).toBeGreaterThan(50);
  await invariants(cluster.shell);
  expect(await attempts(cluster.shell)).toBe(before);
}, 600_000);

void installChart;
