/** A problem, present or imminent. */
export interface Finding {
  /** The resource, such as `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** How to fix it: shell commands, joined by `&&` where each needs the one before, and advice behind a `#`. */
  readonly remedy: string;
}

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

/** A problem with a resource that sidecars read at their start only. */
export interface Misdeclared {
  readonly where: string;
  readonly what: string;
  /** The releases whose manifest defines it, with commands to run first; or advice to the owner of the resource. */
  readonly by:
    | { readonly releases: readonly string[]; readonly first?: readonly string[] }
    | { readonly words: string };
  /** Apps to restart once it is fixed. */
  readonly readers: readonly string[];
}

export const misdeclared = (
  where: string,
  what: string,
  by: Misdeclared['by'],
  readers: readonly string[],
): Misdeclared => ({ where, what, by, readers });

/** Remedy of a finding that another one may have caused. A restart before that is fixed could make things worse. */
export const LATER = '# fix the other findings first, then run the doctor again';

/**
 * Orders the remedies. First one chain of commands restores what the Helm releases define and restarts the sidecars
 * that read it. Then come the resources that only their owner can fix, followed by a restart of the sidecars that read
 * those. A sidecar that is restarted before everything it reads is fixed would lose subscriptions that still work.
 */
export function mend(problems: readonly Misdeclared[], namespace: string): Finding[] {
  const ours = problems.flatMap(({ by, ...it }) => ('releases' in by ? { ...it, ...by } : []));
  const others = problems.flatMap(({ by, ...it }) => ('words' in by ? { ...it, ...by } : []));
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
 * Returns the command that restores deleted or edited Dapr resources from a release's manifest. It sets Helm's
 * annotations, without which Helm would neither delete a resource at an uninstall nor adopt it again. `helm upgrade`
 * would not help: version 3 ignores manual edits (it compares two manifests), and version 4 stops at fields of other
 * owners. The command needs no chart and no values, runs no hooks, and does not affect running sidecars. It stops if
 * the release's last upgrade failed or is unfinished, because the manifest then differs from what runs.
 * @param selector label selector of the resources (default those that sidecars read)
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
