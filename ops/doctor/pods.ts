import type { SubscriberStatus } from '#eventing/subscriber-status';
import { type Cluster, type Deployment, isFor, isSubscribed, type Pod } from './cluster.ts';
import { FIX_OTHERS_FIRST, type Finding, finding, remedy } from './finding.ts';
import { releasesOf } from './releases.ts';

/** Age at which a sidecar's report is outdated, in ms: four times the report interval. */
const STALE_MS = 120_000;
/** Time after which a started pod must have sent a report, in ms. */
const NEW_MS = 10_000;

const appOf = ({ metadata }: Pod): string | undefined => metadata.labels['app.kubernetes.io/name'];
const isReady = ({ status }: Pod): boolean =>
  status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
/** Returns the pods of an app, without terminating ones, whose replacements load the current resources. */
const podsOf = (cluster: Cluster, app: string): Pod[] =>
  cluster.pods.filter((pod) => appOf(pod) === app && pod.metadata.deletionTimestamp === undefined);

/**
 * Checks that an app runs, with a sidecar.
 * @param mayRestart whether the remedies may start pods
 */
export function examineDeployment(cluster: Cluster, app: string, mayRestart: boolean): Finding[] {
  const deployment = cluster.deployments.find(({ metadata }) => metadata.name === app);
  const where = `Deployment ${app}`;
  if (!deployment)
    return [finding(where, 'is missing', remedy(`Install the chart that contains ${app}`, 'app-missing'))];
  const { spec, status } = deployment;
  const bare = podsOf(cluster, app).filter(
    ({ metadata, spec }) =>
      metadata.annotations['dapr.io/enabled'] === 'true' &&
      ![...spec.containers, ...spec.initContainers].some(({ name }) => name === 'daprd'),
  );
  const found = bare.map(({ metadata }) =>
    finding(
      `Pod ${metadata.name}`,
      'has no sidecar: it started while the sidecar injector was down',
      mayRestart ? remedy('Wait for the injector, then delete the pod', 'no-sidecar') : FIX_OTHERS_FIRST,
    ),
  );
  if (spec.replicas === 0)
    found.push(
      finding(
        where,
        'has no pods: its events wait at the broker',
        mayRestart ? remedy(`Scale up ${app}`, 'no-pods') : FIX_OTHERS_FIRST,
      ),
    );
  else if (status.readyReplicas === 0)
    found.push(
      finding(where, 'has no ready pod', remedy(`Read the conditions of the pods of ${app}`, 'pods-not-ready')),
    );
  return [...found, ...examineAnnotations(cluster, deployment, mayRestart)];
}

/** Annotations that sidecars need: the check of the value, and the effect of a wrong one. */
const ANNOTATIONS: Readonly<Record<string, readonly [isValid: (value: string) => boolean, why: string]>> = {
  'dapr.io/enable-app-health-check': [
    (value) => value === 'true',
    'is not "true": the sidecar would keep delivering to an app that is stopping or has lost its database',
  ],
  'dapr.io/block-shutdown-duration': [
    (value) => /[1-9]/.test(value),
    'is not set: the sidecar would stop before its app, which could not finish publishing and responding',
  ],
  'dapr.io/disable-init-endpoints': [
    (value) => value.split(',').some((it) => it.trim() === 'subscribe'),
    'does not contain "subscribe": subscriptions of the app itself would silently override those of the cluster',
  ],
};

function examineAnnotations(
  cluster: Cluster,
  { metadata: { name }, spec }: Deployment,
  mayRestart: boolean,
): Finding[] {
  const { annotations } = spec.template.metadata;
  const [release] = releasesOf(cluster, [name]);
  const advice = release
    ? `Restore the Deployment from the release ${release.name}, which reverts other manual changes too`
    : `Set it on the Deployment ${name}`;
  return Object.entries(ANNOTATIONS)
    .filter(([annotation, [isValid]]) => !isValid(annotations[annotation] ?? ''))
    .map(([annotation, [, why]]) =>
      finding(
        `Deployment ${name}`,
        `${annotation} ${why}`,
        mayRestart ? remedy(advice, 'wrong-annotation') : FIX_OTHERS_FIRST,
      ),
    );
}

/**
 * Returns the sidecar report of each ready pod that is not terminating; `report` is undefined if it is missing or
 * outdated.
 */
export function reportsOf(cluster: Cluster, app: string, subscriber: SubscriberStatus | undefined, now: Date) {
  return podsOf(cluster, app)
    .filter(isReady)
    .map(({ metadata: { name }, status }) => {
      const since = status.conditions.find(({ type }) => type === 'Ready')?.lastTransitionTime;
      const isNew = since !== undefined && now.getTime() - Date.parse(since) <= NEW_MS;
      const last = subscriber?.sidecars.find(({ replica }) => replica.startsWith(`${name}:`));
      const isFresh = last && now.getTime() - Date.parse(last.reportedAt) <= STALE_MS;
      return { name, last, report: isFresh ? last : undefined, isNew };
    });
}

/**
 * Compares what an app's sidecars have loaded with the resources for the app.
 * @param options.mayRestart whether the remedies may restart pods
 */
export function examineSidecars(
  cluster: Cluster,
  app: string,
  { subscriber, now, mayRestart }: { subscriber: SubscriberStatus | undefined; now: Date; mayRestart: boolean },
): Finding[] {
  const subscriptions = cluster.subscriptions.filter(({ scopes }) => scopes.includes(app));
  const components = cluster.components.filter(({ scopes }) => scopes.includes(app));
  return reportsOf(cluster, app, subscriber, now).flatMap(({ name, last, report, isNew }) => {
    const found = (what: string, how: string) => finding(`Pod ${name}`, what, mayRestart ? how : FIX_OTHERS_FIRST);
    const readLog = remedy('Read the log of its sidecar', 'sidecar-without-report');
    const readLogAndRestart = remedy(`Read the log of its sidecar, then restart ${app}`, 'sidecar-without-resource');
    if (!last && isNew) return [];
    if (!last) return [finding(`Pod ${name}`, 'its sidecar has sent no report', readLog)];
    if (!report) return [finding(`Pod ${name}`, `its sidecar sent its last report at ${last.reportedAt}`, readLog)];
    const unloaded = components.filter((it) => !report.components.some((has) => has.name === it.metadata.name));
    const unsubscribed = subscriptions.filter(
      ({ spec }) => !report.subscriptions.some((has) => has.component === spec.pubsubname && has.topic === spec.topic),
    );
    const unknown = report.subscriptions.filter(
      ({ component, topic }) =>
        // A deleted Subscription of the app is a finding of examineMissing.
        (isSubscribed(cluster, app, topic) || !subscriber?.topics.some((it) => it.topic === topic)) &&
        !cluster.subscriptions.some(
          (it) => isFor(it, app) && it.spec.pubsubname === component && it.spec.topic === topic,
        ),
    );
    return [
      ...unloaded.map((it) => found(`its sidecar has not loaded the Component ${it.metadata.name}`, readLogAndRestart)),
      ...unsubscribed.map((it) =>
        found(`its sidecar has not loaded the Subscription ${it.metadata.name}`, readLogAndRestart),
      ),
      ...unknown.map(({ component, topic }) =>
        found(
          `its sidecar receives ${topic} through ${component} without a Subscription: it was deleted, or the app itself subscribes, which overrides Subscriptions`,
          remedy(`Restart ${app}`, 'restart-an-app'),
        ),
      ),
    ];
  });
}
