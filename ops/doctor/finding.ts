/** A problem, present or imminent. */
export interface Finding {
  /** The resource, such as `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do, in one sentence, and the section of the runbook with the commands. */
  readonly remedy: string;
}

/** Sections of docs/doctor.md. */
export const SECTIONS = [
  'added-fields',
  'api-does-not-answer',
  'app-missing',
  'event-never-published',
  'event-never-received',
  'event-never-stored',
  'foreign-resource',
  'gap-in-a-stream',
  'no-pods',
  'no-sidecar',
  'order-of-repairs',
  'outdated-definitions',
  'pods-not-ready',
  'restart-an-app',
  'restore-a-release',
  'sidecar-without-report',
  'sidecar-without-resource',
  'stalled-subscription',
  'wrong-annotation',
] as const;
type Section = (typeof SECTIONS)[number];

export const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });

export const remedy = (sentence: string, section: Section): string => `${sentence}: docs/doctor.md#${section}`;

/** Remedy of a finding that another one may have caused. A restart before that is fixed could make things worse. */
export const FIX_OTHERS_FIRST = remedy('Fix the other findings, then run the doctor again', 'order-of-repairs');

/** A problem with a resource that sidecars read at their start only. */
export interface Misdeclared {
  readonly where: string;
  readonly what: string;
  /** The releases that define the resource, or advice to its owner. */
  readonly by:
    | { readonly releases: readonly string[]; readonly areDefinitionsOutdated?: true }
    | { readonly advice: string; readonly section: Section };
  /** Apps to restart once it is fixed. */
  readonly readers: readonly string[];
}

export const misdeclared = (
  where: string,
  what: string,
  by: Misdeclared['by'],
  readers: readonly string[],
): Misdeclared => ({ where, what, by, readers });

/**
 * Adds the remedies, in their order. First one remedy restores all releases and restarts the sidecars that read them.
 * Then come the resources that only their owner can fix, followed by a restart of the sidecars that read those. A
 * sidecar that is restarted before everything it reads is fixed would lose subscriptions that still work.
 */
export function withRemedies(problems: readonly Misdeclared[]): Finding[] {
  const ours = problems.flatMap(({ by, ...it }) => ('releases' in by ? { ...it, ...by } : []));
  const foreign = problems.flatMap(({ by, ...it }) => ('advice' in by ? { ...it, ...by } : []));
  const waiting = foreign.flatMap(({ readers }) => readers);
  const readers = ours.flatMap((it) => it.readers).filter((app) => !waiting.includes(app));
  const releases = [...new Set(ours.flatMap((it) => it.releases))];
  const what = `the release${releases.length > 1 ? 's' : ''} ${list(releases)}${restart(readers)}`;
  const restored = ours.some((it) => it.areDefinitionsOutdated)
    ? remedy(`Replace Dapr's definitions, restore ${what}`, 'outdated-definitions')
    : remedy(`Restore ${what}`, 'restore-a-release');
  return [
    ...ours.map(({ where, what }) => finding(where, what, restored)),
    ...foreign.map(({ where, what, advice, section }, index) =>
      finding(where, what, remedy(`${advice}${index === foreign.length - 1 ? restart(waiting) : ''}`, section)),
    ),
  ];
}

const restart = (apps: readonly string[]): string => (apps.length > 0 ? `, then restart ${list(apps)}` : '');

/** Sorted and without repetitions: `a, b and c`. */
const list = (names: readonly string[]): string => new Intl.ListFormat('en-GB').format([...new Set(names)].sort());
