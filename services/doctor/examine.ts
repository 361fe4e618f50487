import type { Subscriber } from '#eventing/subscribers';
import type { Cluster } from './cluster.ts';
import { examineComponents, examineGone } from './components.ts';
import { unknownFields } from './definitions.ts';
import { type Finding, type Misdeclared, mend, misdeclared } from './finding.ts';
import { examineDeployment, examineSidecars } from './pods.ts';
import { releasesOf } from './releases.ts';
import { examineMissing, examineSilence, examineSubscriptions } from './subscriptions.ts';

export interface Examined {
  /** App-ids of the system: others of the namespace are none of its business. */
  readonly apps: readonly string[];
  readonly cluster: Cluster;
  /** What the system's own database says; undefined when its API does not answer. */
  readonly subscribers: readonly Subscriber[] | undefined;
  readonly now: Date;
}

/**
 * Compares what the cluster says should be heard with what sidecars have loaded and with what has been heard. When the API does not answer,
 * what needs the cluster alone is looked at all the same: most likely the reason is there.
 */
export function examine({ apps, cluster, subscribers, now }: Examined): Finding[] {
  const of = (app: string) => subscribers?.find(({ appId }) => appId === app);
  const declared = [
    ...examineDefinitions(cluster, apps),
    ...apps.flatMap((app) => [
      ...examineMissing(cluster, app, of(app), now),
      ...examineGone(cluster, app, of(app), now),
    ]),
    ...examineSubscriptions(cluster, apps),
    ...examineComponents(cluster, apps),
  ];
  const mayRestart = declared.length === 0;
  return [
    ...mend(declared, cluster.namespace),
    ...apps.flatMap((app) => [
      ...examineDeployment(cluster, app, mayRestart),
      ...(subscribers ? examineSidecars(cluster, app, { subscriber: of(app), now, mayRestart }) : []),
      ...examineSilence(cluster, app, of(app)),
    ]),
  ];
}

/**
 * As the chart brings them: `kubectl apply` alone ends in a conflict with Helm, which made them. The operator writes its own address into one
 * of them when it starts, and only then.
 */
const UPGRADE_DEFINITIONS = [
  "DAPR=$(kubectl get deployment dapr-operator --namespace dapr-system --output jsonpath='{.spec.template.spec.containers[0].image}' | sed 's/.*://')",
  'helm show crds dapr --repo https://dapr.github.io/helm-charts --version $DAPR | kubectl apply --server-side --force-conflicts --filename -',
  'kubectl rollout restart deployment/dapr-operator --namespace dapr-system',
  'kubectl rollout status deployment/dapr-operator --namespace dapr-system',
];

/** What they do not know is not in the releases' resources either, which are made again, and read by all. */
function examineDefinitions(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  const releases = releasesOf(cluster, apps);
  const by = { releases: releases.map(({ name }) => name), first: UPGRADE_DEFINITIONS };
  const readers = releases.flatMap((it) => it.apps);
  return (cluster.definitions ?? []).flatMap((definition) =>
    unknownFields(definition).map((what) =>
      misdeclared(
        `CustomResourceDefinition ${definition.metadata.name}`,
        `is older than what is made with it: it ${what}`,
        by,
        readers,
      ),
    ),
  );
}
