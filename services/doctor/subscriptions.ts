import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, type Component, isFor, isSubscribed, type Subscription } from './cluster.ts';
import { mayHear } from './components.ts';
import { byReleaseOf, type Finding, finding, type Misdeclared, makerOf, misdeclared } from './finding.ts';
import { reportsOf } from './pods.ts';

/** What an app says that it hears, against the Subscriptions that there are. */
export function examineMissing(
  cluster: Cluster,
  app: string,
  subscriber: Subscriber | undefined,
  now: Date,
): Misdeclared[] {
  // Sidecars read Subscriptions at their start only: those that run may have it yet.
  const reports = reportsOf(cluster, app, subscriber, now).map(({ report }) => report);
  return (subscriber?.topics ?? []).flatMap(({ topic }) => {
    if (isSubscribed(cluster, app, topic)) return [];
    const isHeard = reports.some((it) => it?.subscriptions.some((has) => has.topic === topic));
    const areAllHearing = reports.every((it) => it?.subscriptions.some((has) => has.topic === topic));
    const what = isHeard
      ? `is not there: ${app} hears ${topic} until its pods are replaced, and then no more`
      : `is not there: ${app} is to hear ${topic}, and hears nothing`;
    return misdeclared(
      `Subscription ${app}-${topic}`,
      what,
      byReleaseOf(cluster, app),
      isHeard && areAllHearing ? [] : [app],
    );
  });
}

/** What has come of them. */
export function examineSilence(cluster: Cluster, app: string, subscriber: Subscriber | undefined): Finding[] {
  return (subscriber?.topics ?? []).flatMap(({ topic, heardAt, missedSince }) => {
    if (!missedSince || !isSubscribed(cluster, app, topic)) return [];
    const what = `is silent: something was published to ${topic}, and ${app} has heard nothing since ${heardAt}`;
    const look = `kubectl logs deployment/${app} --container daprd`;
    const known = '# where that says "consumer name already in use": docs/operate.md, "Upgrade, and back"';
    return [finding(`Subscription ${app}-${topic}`, what, `${look}\n${known}`)];
  });
}

/** What was published lately and not heard yet, a sentence each: whether it will be is not known before a while has passed. */
export function unheardYet({ appId, topics }: Subscriber, now: Date): string[] {
  return topics.flatMap(({ topic, missedSince, unheardSince }) => {
    const age = Math.round((now.getTime() - Date.parse(unheardSince ?? '')) / 1_000);
    return !missedSince && age >= JUST_NOW_SECONDS && age <= LONG_AGO_SECONDS
      ? [`${appId} has not heard yet what was published to ${topic} ${age} s ago: look again in a minute.`]
      : [];
  });
}

/** That something was heard is noted a moment later. */
const JUST_NOW_SECONDS = 5;
/** By then it counts as missed, with the longest silence that the charts allow, or was heard long before its relay noted that it had sent it. */
const LONG_AGO_SECONDS = 5_400;

/** Whether what their Subscriptions name is there, open to them, and such that nothing gets lost. */
export function examineSubscriptions(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  return cluster.subscriptions.flatMap((subscription) => {
    const { metadata, scopes, spec } = subscription;
    const readers = apps.filter((app) => isFor(subscription, app));
    if (readers.length === 0) return [];
    const where = `Subscription ${metadata.name}`;
    // Of a Subscription and a Component that do not go together, one is not as the release has it, which makes both.
    const by = makerOf(cluster, apps, subscription, `mend or remove ${where}, which is not the chart's`);
    const component = cluster.components.find((it) => it.metadata.name === spec.pubsubname);
    const wrong = faults(component, spec);
    if (scopes.length === 0) wrong.push('has no scopes: every app of the namespace follows it');
    return [
      ...wrong.map((what) => misdeclared(where, what, by, readers)),
      ...scopes
        .filter((app) => apps.includes(app))
        .flatMap((app) => misfits(component, app, spec).map((what) => misdeclared(where, what, by, [app]))),
    ];
  });
}

function misfits(component: Component | undefined, app: string, { pubsubname, topic }: Subscription['spec']): string[] {
  const named = `names the Component ${pubsubname}`;
  if (!component) return [`${named}, which is not there`];
  const found: string[] = [];
  if (!isFor(component, app)) found.push(`${named}, whose scopes do not name ${app}`);
  if (!mayHear(component, app, topic)) found.push(`${named}, whose subscriptionScopes do not let ${app} hear ${topic}`);
  return found;
}

function faults(component: Component | undefined, { metadata }: Subscription['spec']): string[] {
  const found: string[] = [];
  if (metadata.rawPayload !== 'true')
    found.push('is not raw (metadata.rawPayload): what is no CloudEvent would be refused by the sidecar, for ever');
  if (component?.spec.type === 'pubsub.rabbitmq' && metadata.queueType !== 'quorum')
    found.push(
      'has no quorum queue (metadata.queueType): a classic one is on one server, and what is in it goes with that',
    );
  return found;
}
