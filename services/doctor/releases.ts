import type { Cluster } from './cluster.ts';
import type { Misdeclared } from './finding.ts';

/** A release of one of the charts, and which apps of the system are in it. */
export interface Release {
  readonly name: string;
  readonly chart: string;
  readonly apps: readonly string[];
}

/** The releases that these apps are in: one of each chart, since what a chart makes has its name. */
export function releasesOf({ deployments }: Pick<Cluster, 'deployments'>, apps: readonly string[]): Release[] {
  const found = new Map<string, { name: string; chart: string; apps: string[] }>();
  for (const app of apps) {
    const labels = deployments.find(({ metadata }) => metadata.name === app)?.metadata.labels ?? {};
    const [name, chart] = [labels['app.kubernetes.io/instance'], labels['helm.sh/chart']?.replace(/-\d+\..*/, '')];
    if (!name || !chart) continue;
    const release = found.get(chart) ?? { name, chart, apps: [] };
    release.apps.push(app);
    found.set(chart, release);
  }
  return [...found.values()];
}

/** All that the charts have Components for. */
const TOPIC = /^(member|family-account)-(internal|external)$/;

/**
 * The release that makes what has this name, by the names that the charts give: labels may have been edited as well.
 * @param kind a Component is of a chart and a topic, a Subscription of an app and a topic, a Resiliency of a chart
 */
export function makerOf(
  releases: readonly Release[],
  kind: 'Component' | 'Subscription' | 'Resiliency',
  name: string,
): Release | undefined {
  const isOf = (owner: string) => name.startsWith(`${owner}-`) && TOPIC.test(name.slice(owner.length + 1));
  return releases.find(({ chart, apps }) => {
    if (kind === 'Resiliency') return name === chart;
    return kind === 'Component' ? isOf(chart) : apps.some(isOf);
  });
}

/** Of an app's own release. */
export function byReleaseOf(cluster: Cluster, app: string): Misdeclared['by'] {
  const [release] = releasesOf(cluster, [app]);
  return release ? { releases: [release.name] } : { words: `install the chart that ${app} is in` };
}
