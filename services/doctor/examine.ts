import type { Subscriber } from '#eventing/subscribers';
import type { Cluster } from './cluster.ts';
import { examineComponents, examineGone } from './components.ts';
import { unknownFields } from './definitions.ts';
import {
  type Finding,
  finding,
  LATER,
  type Misdeclared,
  mend,
  releaseOf,
  restart,
  restore,
  thenRestart,
} from './finding.ts';
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
  const declared = [
    ...apps.flatMap((app) => [
      ...examineMissing(cluster, app, of(app), now),
      ...examineGone(cluster, app, of(app), now),
    ]),
    ...examineSubscriptions(cluster, apps),
    ...examineComponents(cluster, apps),
  ];
  const outdated = examineDefinitions(cluster, apps, declared);
  const mayRestart = outdated.length + declared.length === 0;
  return [
    ...outdated,
    ...(outdated.length > 0 ? declared.map(withDefinitions) : mend(declared)),
    ...apps.flatMap((app) => [
      ...examineDeployment(cluster, app, mayRestart),
      ...(subscribers ? examineSidecars(cluster, app, { subscriber: of(app), now, mayRestart }) : []),
      ...examineSilence(cluster, app, of(app)),
    ]),
  ];
}

/** What a definition does not know is not in a release's resources either: they are mended together. */
const withDefinitions = ({ where, what, by }: Misdeclared): Finding =>
  finding(where, what, 'words' in by ? `# ${by.words}` : LATER);

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

function examineDefinitions(
  { definitions = [], deployments }: Cluster,
  apps: readonly string[],
  declared: readonly Misdeclared[],
): Finding[] {
  const installed = apps.filter((app) => releaseOf({ deployments }, app));
  const releases = [...new Set(installed.map((app) => releaseOf({ deployments }, app)!))];
  const commands = [...UPGRADE_DEFINITIONS, ...releases.map((it) => restore(it))];
  const remedy = declared.every(({ by }) => 'release' in by)
    ? [...commands, restart(installed)].join(' &&\n')
    : `${commands.join(' &&\n')}\n# mend what else is found${thenRestart(installed)}`;
  return definitions.flatMap((definition) =>
    unknownFields(definition).map((what) =>
      finding(
        `CustomResourceDefinition ${definition.metadata.name}`,
        `is older than what is made with it: it ${what}`,
        remedy,
      ),
    ),
  );
}
