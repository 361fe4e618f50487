import type { Manifest } from '../support/helm.ts';

export const ofKind = (manifests: readonly Manifest[], kind: string): Manifest[] =>
  manifests.filter((it) => it.kind === kind);

/** Returns all pods and pod templates of manifests. */
// biome-ignore lint/suspicious/noExplicitAny: Kubernetes' own resources
export const podsOf = (manifests: readonly Manifest[]): any[] => [
  ...ofKind(manifests, 'Pod'),
  ...ofKind(manifests, 'Deployment').map((it) => it.spec.template),
  ...ofKind(manifests, 'Job').map((it) => it.spec.template),
  ...ofKind(manifests, 'CronJob').map((it) => it.spec.jobTemplate.spec.template),
];
