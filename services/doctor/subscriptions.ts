import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, isFor, type Subscription } from './cluster.ts';
import { mayHear } from './components.ts';
import { type Finding, finding, restart, upgrade } from './finding.ts';

/** What an app says that it hears, against the Subscriptions that there are, and what has come of them. */
export function examineTopics(cluster: Cluster, app: string, subscriber: Subscriber | undefined): Finding[] {
  return (subscriber?.topics ?? []).flatMap(({ topic, heardAt, missedSince }): Finding[] => {
    const where = `Subscription ${app}-${topic}`;
    if (isMissing(cluster, app, topic, subscriber)) {
      const remedy = upgrade(cluster, app);
      // Sidecars read it at their start only: those that run may have it yet.
      const isHeard = subscriber?.sidecars.some(({ subscriptions }) => subscriptions.some((it) => it.topic === topic));
      return isHeard
        ? [finding(where, `is not there: ${app} hears ${topic} until its pods are replaced, and then no more`, remedy)]
        : [finding(where, `is not there: ${app} is to hear ${topic}, and hears nothing`, `${remedy}\n${restart(app)}`)];
    }
    if (!missedSince) return [];
    const what = `is silent: something was published to ${topic}, and ${app} has heard nothing since ${heardAt}`;
    const look = `kubectl logs deployment/${app} --container daprd`;
    return [finding(where, what, `${look}; "consumer name already in use": docs/operate.md, "Upgrade, and back"`)];
  });
}

/** Whether an app is to hear a topic and no Subscription says so. */
export function isMissing(cluster: Cluster, app: string, topic: string, subscriber: Subscriber | undefined): boolean {
  return (
    (subscriber?.topics ?? []).some((it) => it.topic === topic) &&
    !cluster.subscriptions.some((it) => isFor(it, app) && it.spec.topic === topic)
  );
}

/** What was published lately and not heard yet, a sentence each: whether it will be is not known before a while has passed. */
export function unheardYet(app: string, { topics }: Subscriber, now: Date): string[] {
  return topics.flatMap(({ topic, missedSince, unheardSince }) => {
    const age = Math.round((now.getTime() - Date.parse(unheardSince ?? '')) / 1_000);
    return !missedSince && age >= JUST_NOW_SECONDS
      ? [`${app} has not heard yet what was published to ${topic} ${age} s ago: look again in a minute.`]
      : [];
  });
}

/** That something was heard is noted a moment later. */
const JUST_NOW_SECONDS = 5;

/** Whether what its Subscriptions name is there, open to the app, and such that nothing gets lost. */
export function examineSubscriptions(cluster: Cluster, app: string): Finding[] {
  return cluster.subscriptions
    .filter(({ scopes }) => scopes.includes(app))
    .flatMap((subscription) =>
      faults(cluster, app, subscription).map((what) =>
        finding(`Subscription ${subscription.metadata.name}`, what, `${upgrade(cluster, app)}\n${restart(app)}`),
      ),
    );
}

function faults({ components }: Cluster, app: string, { spec }: Subscription): string[] {
  const { pubsubname, topic, metadata } = spec;
  const named = `names the Component ${pubsubname}`;
  const component = components.find((it) => it.metadata.name === pubsubname);
  const found: string[] = [];
  if (!component) found.push(`${named}, which is not there`);
  if (component && !isFor(component, app)) found.push(`${named}, whose scopes do not name ${app}`);
  if (component && !mayHear(component, app, topic))
    found.push(`${named}, whose subscriptionScopes do not let ${app} hear ${topic}`);
  if (metadata.rawPayload !== 'true')
    found.push('is not raw (metadata.rawPayload): what is no CloudEvent would be refused by the sidecar, for ever');
  if (component?.spec.type === 'pubsub.rabbitmq' && metadata.queueType !== 'quorum')
    found.push(
      'has no quorum queue (metadata.queueType): a classic one is on one server, and what is in it goes with that',
    );
  return found;
}
