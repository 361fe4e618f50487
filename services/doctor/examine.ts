import type { Subscriber } from '#eventing/subscribers';
import type { Cluster } from './cluster.ts';
import { examineComponents } from './components.ts';
import { unknownFields } from './definitions.ts';
import { type Finding, finding, readLast } from './finding.ts';
import { examineDeployment, examineSidecars } from './pods.ts';
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
  const outdated = examineDefinitions(cluster);
  const misdeclared = [
    ...apps.flatMap((app) => [...examineMissing(cluster, app, of(app), now), ...examineSubscriptions(cluster, app)]),
    ...examineComponents(cluster, apps),
  ];
  const mayRestart = outdated.length + misdeclared.length === 0;
  return [
    ...outdated,
    ...readLast(misdeclared),
    ...apps.flatMap((app) => [
      ...examineDeployment(cluster, app),
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
  'then upgrade the charts, and kubectl rollout restart deployment --selector app.kubernetes.io/part-of=member-system',
].join('\n');

function examineDefinitions({ definitions = [] }: Cluster): Finding[] {
  return definitions.flatMap((definition) =>
    unknownFields(definition).map((what) =>
      finding(
        `CustomResourceDefinition ${definition.metadata.name}`,
        `is older than what is made with it: it ${what}`,
        UPGRADE_DEFINITIONS,
      ),
    ),
  );
}
