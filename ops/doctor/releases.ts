import type { Cluster } from './cluster.ts';
import type { Misdeclared } from './finding.ts';

/** A release of one of the charts, with the system's apps that it contains. */
export interface Release {
  readonly name: string;
  readonly chart: string;
  readonly apps: readonly string[];
}

/** Returns the releases that contain these apps: at most one per chart, since resources are named after the chart. */
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

/** Topics that the charts have Components for. */
const TOPIC = /^(member|family-account)-(internal|external)$/;

/**
 * Returns the release that defines the resource with this name. The names of the charts are used: labels may have been
 * edited.
 * @param kind Components are named after chart and topic, Subscriptions after app and topic, Resiliencies after the
 * chart
 */
export function definingRelease(
  releases: readonly Release[],
  kind: 'Component' | 'Subscription' | 'Resiliency',
  name: string,
): Release | undefined {
  const belongsTo = (owner: string) => name.startsWith(`${owner}-`) && TOPIC.test(name.slice(owner.length + 1));
  return releases.find(({ chart, apps }) => {
    if (kind === 'Resiliency') return name === chart;
    return kind === 'Component' ? belongsTo(chart) : apps.some(belongsTo);
  });
}

/** Returns the remedy for resources of an app's own release. */
export function byReleaseOf(cluster: Cluster, app: string): Misdeclared['by'] {
  const [release] = releasesOf(cluster, [app]);
  return release
    ? { releases: [release.name] }
    : { advice: `Install the chart that contains ${app}`, section: 'app-missing' };
}
