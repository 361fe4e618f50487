/** Something that is wrong, or will be. */
export interface Finding {
  /** The resource: `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do about it: commands, chained where one is for nothing without the other, and words behind a `#`. */
  readonly remedy: string;
}

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

/** Something that is wrong with what sidecars read at their start. */
export interface Misdeclared {
  readonly where: string;
  readonly what: string;
  /** The releases that have it as it should be, and commands that come before; or words for somebody who has made it. */
  readonly by:
    | { readonly releases: readonly string[]; readonly first?: readonly string[] }
    | { readonly words: string };
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
 * What to do about them: whatever releases have rightly is made so again at once, and who has to read it is restarted behind the last of it; then
 * what only somebody else can mend, and behind that the others. A sidecar that is restarted before all is mended that it reads would be deaf
 * where it hears yet.
 */
export function mend(them: readonly Misdeclared[], namespace: string): Finding[] {
  const ours = them.flatMap(({ by, ...it }) => ('releases' in by ? { ...it, ...by } : []));
  const others = them.flatMap(({ by, ...it }) => ('words' in by ? { ...it, ...by } : []));
  const waiting = others.flatMap(({ readers }) => readers);
  const readers = ours.flatMap((it) => it.readers).filter((app) => !waiting.includes(app));
  const chain = [
    ...new Set(ours.flatMap(({ first = [] }) => first)),
    ...[...new Set(ours.flatMap(({ releases }) => releases))].sort().map((release) => restore(release, namespace)),
    ...(readers.length > 0 ? [restart(readers)] : []),
  ].join(' &&\n');
  const last = waiting.length > 0 ? `\n# then: ${restart(waiting)}` : '';
  return [
    ...ours.map(({ where, what }) => finding(where, what, chain)),
    ...others.map(({ where, what, words }, index) =>
      finding(where, what, `# ${words}${index === others.length - 1 ? last : ''}`),
    ),
  ];
}

/**
 * Has the cluster hold again what a release holds of Dapr's resources, whether they are gone or edited, as Helm's own: what has not its
 * annotations Helm would leave behind at an uninstall, and not take into a release again. Not `helm upgrade`: that leaves an edit
 * as it is (version 3 compares its own two manifests) or stops at it (version 4, at a field of another's). It takes no chart and no values, runs
 * no hooks, and running sidecars do not notice. It stops when the release's last upgrade failed or has not ended: its manifest is not what runs.
 * @param selector of which of its resources; those that sidecars read, unless told
 */
export const restore = (
  release: string,
  namespace: string,
  selector = 'app.kubernetes.io/component=eventing',
): string =>
  [
    `helm status ${release} | grep 'STATUS: deployed'`,
    `helm get manifest ${release} | kubectl annotate --local --filename - --output yaml meta.helm.sh/release-name=${release} meta.helm.sh/release-namespace=${namespace} | kubectl apply --server-side --force-conflicts --field-manager helm --selector ${selector} --filename -`,
  ].join(' &&\n');

export const restart = (apps: readonly string[]): string =>
  `kubectl rollout restart ${[...new Set(apps)]
    .sort()
    .map((app) => `deployment/${app}`)
    .join(' ')}`;
