import type { Cluster } from './cluster.ts';

/** Something that is wrong, or will be. */
export interface Finding {
  /** The resource: `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do about it: commands, chained where one is for nothing without the other, or words behind a `#`. */
  readonly remedy: string;
}

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

/** Something that is wrong with what sidecars read at their start. */
export interface Misdeclared extends Finding {
  /** The apps that have to read it anew once it is mended. */
  readonly readers: readonly string[];
}

/**
 * The same, with who has to read it behind the last of them: a sidecar that was started anew before all is mended would read what is wrong, and
 * be deaf where it heard yet.
 */
export function readLast(misdeclared: readonly Misdeclared[]): Finding[] {
  const readers = [...new Set(misdeclared.flatMap((it) => it.readers))].sort();
  return misdeclared.map(({ where, what, remedy }, index) => {
    const isLast = index === misdeclared.length - 1 && readers.length > 0;
    return finding(
      where,
      what,
      isLast ? `${remedy}${remedy.startsWith('#') ? '' : ' &&'}\n${restart(...readers)}` : remedy,
    );
  });
}

/** Of what comes of something else that is found: done before that, it would make it worse. */
export const LATER = 'mend what else is found, then look again';

type Labels = Readonly<Record<string, string>> | undefined;

/** Has Helm make again what the chart of an app's release makes, as it was told to. */
export const upgrade = ({ deployments }: Cluster, app: string): string =>
  upgradeOf(deployments.find(({ metadata }) => metadata.name === app)?.metadata.labels) ??
  `# upgrade the chart that ${app} is in`;

/**
 * Has Helm make a resource again that is not as its chart makes it. Helm brings back what is gone, and not what somebody has edited: version 3
 * compares its own two manifests, version 4 stops at fields that are another's. Sidecars that run do not notice that it is away for a moment.
 * @param kind as kubectl takes it
 */
export function remake(kind: string, { name, labels }: { readonly name: string; readonly labels: Labels }): string {
  const again = upgradeOf(labels);
  return again ? `kubectl delete ${kind} ${name} &&\n${again}` : `# make ${name} as the charts make it`;
}

export const restart = (...apps: readonly string[]): string =>
  `kubectl rollout restart ${apps.map((app) => `deployment/${app}`).join(' ')}`;

function upgradeOf(labels: Labels): string | undefined {
  const [release, chart] = [labels?.['app.kubernetes.io/instance'], labels?.['helm.sh/chart']];
  return release && chart
    ? `helm upgrade ${release} charts/${chart.replace(/-\d+\..*/, '')} --reset-then-reuse-values --wait --timeout 15m`
    : undefined;
}
