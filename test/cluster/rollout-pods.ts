import { NAMESPACE } from '../../k8s/cluster.ts';
import { type Cluster, current } from '../../k8s/clusters.ts';

/** The development cluster. Found by `open`. */
export let cluster: Cluster;
export async function open() {
  cluster = await current();
}

export const kubectl = (...args: string[]) => cluster.shell.kubectl('--namespace', NAMESPACE, ...args);
/** Returns the names of what a query finds. */
export const names = async (...query: string[]): Promise<string[]> =>
  (await kubectl('get', ...query, '--output=jsonpath={.items[*].metadata.name}')).split(' ').filter(Boolean);

/** Returns the pods of an app that run and are not terminating. */
export const podsOf = async (app: string): Promise<string[]> => {
  const { items } = JSON.parse(await kubectl('get', 'pods', '-l', `app.kubernetes.io/name=${app}`, '--output=json'));
  return (items as Pod[])
    .filter(({ metadata, status }) => status.phase === 'Running' && !metadata.deletionTimestamp)
    .map(({ metadata }) => metadata.name);
};
interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly phase: string };
}
export const waitForRollouts = async (apps: readonly string[]) => {
  for (const app of apps) await kubectl('rollout', 'status', `deployment/${app}`, '--timeout=180s');
};
export const replace = async (...apps: string[]) => {
  await kubectl('rollout', 'restart', ...apps.map((app) => `deployment/${app}`));
  await waitForRollouts(apps);
};
/** Evicts a pod, as draining a node does. PodDisruptionBudgets can deny it. */
export const evict = async (pod: string) => {
  const metadata = { name: pod, namespace: NAMESPACE };
  const eviction = JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata });
  const path = `/api/v1/namespaces/${NAMESPACE}/pods/${pod}/eviction`;
  await cluster.shell.run(['kubectl', 'create', '--raw', path, '--filename', '-'], { input: eviction });
};
