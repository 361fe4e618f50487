import type { Cluster } from './cluster.ts';

/** Something that is wrong, or will be. */
export interface Finding {
  /** The resource: `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
}

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

/** Has Helm make again what the chart of an app's release makes, as it was told to. */
export function upgrade({ deployments }: Cluster, app: string): string {
  const { labels } = deployments.find(({ metadata }) => metadata.name === app)?.metadata ?? {};
  const [release, chart] = [labels?.['app.kubernetes.io/instance'], labels?.['helm.sh/chart']];
  return release && chart
    ? `helm upgrade ${release} charts/${chart.replace(/-\d+\..*/, '')} --reset-then-reuse-values --wait --timeout 15m`
    : `upgrade the chart that ${app} is in`;
}

export const restart = (app: string): string => `kubectl rollout restart deployment/${app}`;
