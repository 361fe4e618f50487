import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, isFor, type Subscription } from './cluster.ts';
import { mayHear } from './components.ts';
import { type Finding, finding, restart } from './finding.ts';

/** What an app says that it hears, against the Subscriptions that there are, and what has come of them. */
export function examineTopics(cluster: Cluster, app: string, subscriber: Subscriber | undefined): Finding[] {
  return (subscriber?.topics ?? []).flatMap(({ topic, heardAt, missedSince }): Finding[] => {
    const where = `Subscription ${app}-${topic}`;
    if (!cluster.subscriptions.some((it) => it.scopes.includes(app) && it.spec.topic === topic)) {
      const what = `is not there: ${app} is to hear ${topic}, and hears nothing`;
      return [finding(where, what, `upgrade the chart that ${app} is in, then ${restart(app)}`)];
    }
    if (!missedSince) return [];
    const what = `is silent: something was published to ${topic}, and ${app} has heard nothing since ${heardAt}`;
    return [finding(where, what, `kubectl logs deployment/${app} --container daprd`)];
  });
}

/** Whether what its Subscriptions name is there, open to the app, and such that nothing gets lost. */
export function examineSubscriptions(cluster: Cluster, app: string): Finding[] {
  return cluster.subscriptions
    .filter(({ scopes }) => scopes.includes(app))
    .flatMap((subscription) =>
      faults(cluster, app, subscription).map((what) =>
        finding(
          `Subscription ${subscription.metadata.name}`,
          what,
          `upgrade the chart that ${app} is in, then ${restart(app)}`,
        ),
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
