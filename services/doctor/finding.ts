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
export interface Misdeclared {
  readonly where: string;
  readonly what: string;
  /** Who has it as it should be: a release of ours, or somebody who has to be told in words. */
  readonly by: { readonly release: string } | { readonly words: string };
  /** The apps that have to read it anew once it is mended. */
  readonly readers: readonly string[];
}

export const misdeclared = (
  where: string,
  what: string,
  by: Misdeclared['by'],
  readers: readonly string[],
): Misdeclared => ({ where, what, by, readers });

/** Of what comes of something else that is found: done before that, it would make it worse. */
export const LATER = '# mend what else is found, then look again';

/**
 * What to do about them: what is wrong with what a release makes is mended at once, and who has to read it is restarted behind that. Not who
 * would read as well what only somebody else can mend: a sidecar that hears yet would be deaf after it.
 */
export function mend(them: readonly Misdeclared[]): Finding[] {
  const inWords: Finding[] = [];
  const waiting = new Set<string>();
  const byRelease = new Map<string, Misdeclared[]>();
  for (const it of them) {
    if ('release' in it.by) {
      byRelease.set(it.by.release, [...(byRelease.get(it.by.release) ?? []), it]);
      continue;
    }
    for (const reader of it.readers) waiting.add(reader);
    inWords.push(finding(it.where, it.what, `# ${it.by.words}${thenRestart(it.readers)}`));
  }
  const byHelm = [...byRelease].flatMap(([release, ours]) => {
    const readers = ours.flatMap((it) => it.readers).filter((app) => !waiting.has(app));
    const remedy = [restore(release), ...(readers.length > 0 ? [restart(readers)] : [])].join(' &&\n');
    return ours.map(({ where, what }) => finding(where, what, remedy));
  });
  return [...inWords, ...byHelm];
}

/** What has to wait for somebody's doing, as words. */
export const thenRestart = (readers: readonly string[]): string =>
  readers.length > 0 ? `\n# then: ${restart(readers)}` : '';

/**
 * Has the cluster hold again what a release holds of Dapr's resources, whether they are gone or edited, as Helm itself would write them. Not
 * `helm upgrade`: that leaves an edit as it is (version 3 compares its own two manifests) or stops at it (version 4, at a field of another's).
 * It takes no chart and no values, runs no hooks, and running sidecars do not notice.
 * @param selector of which of its resources; those that sidecars read, unless told
 */
export const restore = (release: string, selector = 'app.kubernetes.io/component=eventing'): string =>
  `helm get manifest ${release} | kubectl apply --server-side --force-conflicts --field-manager helm --selector ${selector} --filename -`;

export const restart = (apps: readonly string[]): string =>
  `kubectl rollout restart ${[...new Set(apps)]
    .sort()
    .map((app) => `deployment/${app}`)
    .join(' ')}`;

/** The release that an app is in; undefined of one that is not installed. */
export const releaseOf = ({ deployments }: Pick<Cluster, 'deployments'>, app: string): string | undefined =>
  deployments.find(({ metadata }) => metadata.name === app)?.metadata.labels['app.kubernetes.io/instance'];

export function byReleaseOf(cluster: Cluster, app: string): Misdeclared['by'] {
  const release = releaseOf(cluster, app);
  return release ? { release } : { words: `install the chart that ${app} is in` };
}

/** The release that one of these apps is in and that has made a resource; or else words for who has. */
export function makerOf(
  cluster: Cluster,
  apps: readonly string[],
  { metadata: { labels } }: Labelled,
  words: string,
): Misdeclared['by'] {
  const release = labels['app.kubernetes.io/instance'];
  const isOurs = labels['app.kubernetes.io/part-of'] === 'member-system';
  return isOurs && release && apps.some((app) => releaseOf(cluster, app) === release) ? { release } : { words };
}

interface Labelled {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
}
