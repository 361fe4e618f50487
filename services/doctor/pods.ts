import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, type Deployment, isFor, isSubscribed, type Pod } from './cluster.ts';
import { type Finding, finding, LATER, restart, restore } from './finding.ts';
import { releasesOf } from './releases.ts';

/** An app that is well reports four times in this time; milliseconds. */
const STALE_MS = 120_000;
/** One that has just started has not reported yet. */
const NEW_MS = 10_000;

const appOf = ({ metadata }: Pod): string | undefined => metadata.labels['app.kubernetes.io/name'];
const isReady = ({ status }: Pod): boolean =>
  status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
/** The pods of an app, without those that are about to go: what they have loaded is their successors' business. */
const podsOf = (cluster: Cluster, app: string): Pod[] =>
  cluster.pods.filter((pod) => appOf(pod) === app && pod.metadata.deletionTimestamp === undefined);

/** Whether it runs, and with a sidecar; whether pods may be started to mend that. */
export function examineDeployment(cluster: Cluster, app: string, mayRestart: boolean): Finding[] {
  const deployment = cluster.deployments.find(({ metadata }) => metadata.name === app);
  const where = `Deployment ${app}`;
  if (!deployment) return [finding(where, 'is not there', `# install the chart that ${app} is in`)];
  const { spec, status } = deployment;
  const bare = podsOf(cluster, app).filter(
    ({ metadata, spec }) =>
      metadata.annotations['dapr.io/enabled'] === 'true' &&
      ![...spec.containers, ...spec.initContainers].some(({ name }) => name === 'daprd'),
  );
  const found = bare.map(({ metadata }) =>
    finding(
      `Pod ${metadata.name}`,
      'has no sidecar: it was started while the injector was away',
      mayRestart
        ? `kubectl rollout status deployment/dapr-sidecar-injector --namespace dapr-system --timeout=2m &&\nkubectl delete pod ${metadata.name}`
        : LATER,
    ),
  );
  if (spec.replicas === 0)
    found.push(
      finding(
        where,
        'has no pods: its events wait at the broker',
        mayRestart ? `kubectl scale deployment/${app} --replicas=1` : LATER,
      ),
    );
  else if (status.readyReplicas === 0)
    found.push(
      finding(where, 'has no pod that is ready', `kubectl describe pods --selector app.kubernetes.io/name=${app}`),
    );
  return [...found, ...examineAnnotations(cluster, deployment, mayRestart)];
}

/** What its sidecar has to be told, by annotation: what a value has to be like, and what comes of another. */
const ANNOTATIONS: Readonly<Record<string, readonly [isWell: (value: string) => boolean, why: string]>> = {
  'dapr.io/enable-app-health-check': [
    (value) => value === 'true',
    'is not "true": the sidecar would go on delivering to an app that is ending, or whose database is away',
  ],
  'dapr.io/block-shutdown-duration': [
    (value) => /[1-9]/.test(value),
    'is not set: the sidecar would be gone before its app, with what the app has still to publish and to answer',
  ],
  'dapr.io/disable-init-endpoints': [
    (value) => value.split(',').some((it) => it.trim() === 'subscribe'),
    'does not hold "subscribe": subscriptions that the app answers itself would win over those of the cluster, silently',
  ],
};

function examineAnnotations(
  cluster: Cluster,
  { metadata: { name }, spec }: Deployment,
  mayRestart: boolean,
): Finding[] {
  const { annotations } = spec.template.metadata;
  const [release] = releasesOf(cluster, [name]);
  const mended = release
    ? `# whatever else was changed by hand there goes back as well\n${restore(release.name, cluster.namespace, `app.kubernetes.io/name=${name}`)}`
    : `# set it on deployment/${name}`;
  return Object.entries(ANNOTATIONS)
    .filter(([annotation, [isWell]]) => !isWell(annotations[annotation] ?? ''))
    .map(([annotation, [, why]]) => finding(`Deployment ${name}`, `${annotation} ${why}`, mayRestart ? mended : LATER));
}

/** What the sidecar of each pod that is to stay and ready says of itself; nothing of one that has not said it lately. */
export function reportsOf(cluster: Cluster, app: string, subscriber: Subscriber | undefined, now: Date) {
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

/** What its sidecars have loaded, against what there is for them; whether a restart may mend it, or would make it worse. */
export function examineSidecars(
  cluster: Cluster,
  app: string,
  { subscriber, now, mayRestart }: { subscriber: Subscriber | undefined; now: Date; mayRestart: boolean },
): Finding[] {
  const subscriptions = cluster.subscriptions.filter(({ scopes }) => scopes.includes(app));
  const components = cluster.components.filter(({ scopes }) => scopes.includes(app));
  return reportsOf(cluster, app, subscriber, now).flatMap(({ name, last, report, isNew }) => {
    const look = `kubectl logs ${name} --container daprd`;
    const tell = (what: string, remedy = `${look}\n${restart([app])}`) =>
      finding(`Pod ${name}`, what, mayRestart ? remedy : LATER);
    if (!last && isNew) return [];
    if (!last) return [finding(`Pod ${name}`, 'its sidecar has not been heard of', look)];
    if (!report) return [finding(`Pod ${name}`, `its sidecar was heard of last at ${last.reportedAt}`, look)];
    const unloaded = components.filter((it) => !report.components.some((has) => has.name === it.metadata.name));
    const unheard = subscriptions.filter(
      ({ spec }) => !report.subscriptions.some((has) => has.component === spec.pubsubname && has.topic === spec.topic),
    );
    const unknown = report.subscriptions.filter(
      ({ component, topic }) =>
        // What it is to hear, and nothing says so any more, is found already.
        (isSubscribed(cluster, app, topic) || !subscriber?.topics.some((it) => it.topic === topic)) &&
        !cluster.subscriptions.some(
          (it) => isFor(it, app) && it.spec.pubsubname === component && it.spec.topic === topic,
        ),
    );
    return [
      ...unloaded.map((it) => tell(`its sidecar has not loaded the Component ${it.metadata.name}`)),
      ...unheard.map((it) => tell(`its sidecar does not follow the Subscription ${it.metadata.name}`)),
      ...unknown.map(({ component, topic }) =>
        tell(
          `its sidecar hears ${topic} through ${component}, and no Subscription says so: one that has gone since, or the app's own, which wins silently`,
          restart([app]),
        ),
      ),
    ];
  });
}
