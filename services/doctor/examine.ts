import type { Subscriber } from '#eventing/subscribers';
import type { Cluster, Pod } from './cluster.ts';
import { losses, mayHear } from './components.ts';
import { unknownFields } from './definitions.ts';

/** Something that is wrong, or will be. */
export interface Finding {
  /** The resource: `Subscription family-account-member-external`. */
  readonly where: string;
  readonly what: string;
  /** What to do about it. */
  readonly remedy: string;
}

export interface Examined {
  /** App-ids of the system: others of the namespace are none of its business. */
  readonly apps: readonly string[];
  readonly cluster: Cluster;
  /** What the system's own database says. */
  readonly subscribers: readonly Subscriber[];
  readonly now: Date;
}

/** An app that is well reports four times in this time; milliseconds. */
const STALE_MS = 120_000;

/** Compares what the cluster says should be heard with what sidecars have loaded and with what has been heard. */
export function examine(it: Examined): Finding[] {
  return [
    ...it.apps.flatMap((app) => [...examinePods(it, app), ...examineSidecars(it, app), ...examineTopics(it, app)]),
    ...examineComponents(it),
    ...examineDefinitions(it),
  ];
}

const appOf = ({ metadata }: Pod): string | undefined => metadata.labels['app.kubernetes.io/name'];
const isReady = ({ status }: Pod): boolean =>
  status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
const restart = (app: string): string => `kubectl rollout restart deployment/${app}`;

function examinePods({ cluster }: Examined, app: string): Finding[] {
  const deployment = cluster.deployments.find(({ metadata }) => metadata.name === app);
  if (!deployment) return [finding(`Deployment ${app}`, 'is not there', `install the chart that ${app} is in`)];
  const { spec, status } = deployment;
  const pods = cluster.pods.filter((pod) => appOf(pod) === app && pod.metadata.deletionTimestamp === undefined);
  const bare = pods.filter(
    ({ metadata, spec }) =>
      metadata.annotations['dapr.io/enabled'] === 'true' &&
      ![...spec.containers, ...spec.initContainers].some(({ name }) => name === 'daprd'),
  );
  return [
    ...bare.map(({ metadata }) =>
      finding(
        `Pod ${metadata.name}`,
        'has no sidecar: it was started while the injector was away',
        `see that dapr-sidecar-injector runs, then kubectl delete pod ${metadata.name}`,
      ),
    ),
    ...(spec.replicas === 0
      ? [
          finding(
            `Deployment ${app}`,
            'has no pods: its events wait at the broker',
            `kubectl scale deployment/${app} --replicas=1`,
          ),
        ]
      : []),
    ...(spec.replicas > 0 && status.readyReplicas === 0
      ? [
          finding(
            `Deployment ${app}`,
            'has no pod that is ready',
            `kubectl describe pods --selector app.kubernetes.io/name=${app}`,
          ),
        ]
      : []),
  ];
}

/** What its sidecars have loaded, against what there is for them. */
function examineSidecars({ cluster, subscribers, now }: Examined, app: string): Finding[] {
  const pods = cluster.pods.filter((pod) => appOf(pod) === app && isReady(pod));
  const reports = subscribers.find(({ appId }) => appId === app)?.sidecars ?? [];
  const subscriptions = cluster.subscriptions.filter(({ scopes }) => scopes.includes(app));
  const components = cluster.components.filter(({ scopes }) => scopes.includes(app));
  return pods.flatMap(({ metadata: { name } }) => {
    const where = `Pod ${name}`;
    const report = reports.find(({ replica }) => replica.startsWith(`${name}:`));
    if (!report || now.getTime() - Date.parse(report.reportedAt) > STALE_MS) {
      const what = report
        ? `its sidecar was heard of last at ${report.reportedAt}`
        : 'its sidecar has not been heard of';
      return [finding(where, what, `kubectl logs ${name} --container daprd`)];
    }
    const unloaded = components.filter((it) => !report.components.some((has) => has.name === it.metadata.name));
    const unheard = subscriptions.filter(
      ({ spec }) => !report.subscriptions.some((has) => has.component === spec.pubsubname && has.topic === spec.topic),
    );
    return [
      ...unloaded.map((it) =>
        finding(
          where,
          `its sidecar has not loaded the Component ${it.metadata.name}`,
          `kubectl logs ${name} --container daprd, then ${restart(app)}`,
        ),
      ),
      ...unheard.map((it) =>
        finding(
          where,
          `its sidecar does not follow the Subscription ${it.metadata.name}`,
          `kubectl logs ${name} --container daprd, then ${restart(app)}`,
        ),
      ),
    ];
  });
}

/** What it says it hears, against the Subscriptions that there are, and what has come of them. */
function examineTopics({ cluster, subscribers }: Examined, app: string): Finding[] {
  const topics = subscribers.find(({ appId }) => appId === app)?.topics ?? [];
  return topics.flatMap(({ topic, heardAt, missedSince }): Finding[] => {
    const where = `Subscription ${app}-${topic}`;
    const subscription = cluster.subscriptions.find((it) => it.scopes.includes(app) && it.spec.topic === topic);
    const silent = missedSince
      ? [
          finding(
            where,
            `is silent: something was published to ${topic}, and ${app} has heard nothing since ${heardAt}`,
            `kubectl logs deployment/${app} --container daprd`,
          ),
        ]
      : [];
    if (!subscription)
      return [
        finding(
          where,
          `is not there: ${app} is to hear ${topic}, and hears nothing`,
          `upgrade the chart that ${app} is in, then ${restart(app)}`,
        ),
      ];
    const { pubsubname, metadata } = subscription.spec;
    const component = cluster.components.find((it) => it.metadata.name === pubsubname);
    const closed = (what: string) => finding(where, what, `upgrade the chart that ${app} is in, then ${restart(app)}`);
    return [
      ...(component ? [] : [closed(`names the Component ${pubsubname}, which is not there`)]),
      ...(component && !component.scopes.includes(app) && component.scopes.length > 0
        ? [closed(`names the Component ${pubsubname}, whose scopes do not name ${app}`)]
        : []),
      ...(component && !mayHear(component, app, topic)
        ? [closed(`names the Component ${pubsubname}, whose subscriptionScopes do not let ${app} hear ${topic}`)]
        : []),
      ...(metadata.rawPayload === 'true'
        ? []
        : [
            closed('is not raw (metadata.rawPayload): what is no CloudEvent would be refused by the sidecar, for ever'),
          ]),
      ...silent,
    ];
  });
}

function examineComponents({ apps, cluster }: Examined): Finding[] {
  const named = new Set(
    cluster.subscriptions
      .filter(({ scopes }) => scopes.some((app) => apps.includes(app)))
      .map(({ spec }) => spec.pubsubname),
  );
  const ours = cluster.components.filter(
    ({ metadata, scopes, spec }) =>
      spec.type.startsWith('pubsub.') && (named.has(metadata.name) || scopes.some((app) => apps.includes(app))),
  );
  return ours.flatMap((component) =>
    losses(component, cluster.resiliencies).map((what) =>
      finding(
        `Component ${component.metadata.name}`,
        what,
        'let the chart make it, then restart the apps that it names',
      ),
    ),
  );
}

function examineDefinitions({ cluster }: Examined): Finding[] {
  return (cluster.definitions ?? []).flatMap((definition) =>
    unknownFields(definition).map((what) =>
      finding(
        `CustomResourceDefinition ${definition.metadata.name}`,
        `is older than what is made with it: it ${what}`,
        'kubectl apply --server-side the CRDs of the Dapr that runs, then upgrade the charts and restart the apps',
      ),
    ),
  );
}

const finding = (where: string, what: string, remedy: string): Finding => ({ where, what, remedy });
