import type { SubscriberStatus } from '#eventing/subscriber-status';
import { type Cluster, type Component, isFor, isSubscribed, type Subscription } from './cluster.ts';
import { maySubscribe } from './components.ts';
import { type Finding, finding, type Misdeclared, misdeclared, remedy } from './finding.ts';
import { reportsOf } from './pods.ts';
import { byReleaseOf, definingRelease, releasesOf } from './releases.ts';

/** Finds missing Subscriptions: topics that an app expects and that no Subscription names. */
export function examineMissingSubscriptions(
  cluster: Cluster,
  app: string,
  subscriber: SubscriberStatus | undefined,
  now: Date,
): Misdeclared[] {
  // Sidecars read Subscriptions at their start only, so running ones may still receive the topic.
  const reports = reportsOf(cluster, app, subscriber, now).map(({ report }) => report);
  return (subscriber?.topics ?? []).flatMap(({ topic }) => {
    if (isSubscribed(cluster, app, topic)) return [];
    const isReceived = reports.some((it) => it?.subscriptions.some((has) => has.topic === topic));
    const isReceivedByAll = reports.every((it) => it?.subscriptions.some((has) => has.topic === topic));
    const what = isReceived
      ? `is missing: ${app} receives ${topic} only until its pods are replaced`
      : `is missing: ${app} does not receive ${topic}`;
    return misdeclared(
      `Subscription ${app}-${topic}`,
      what,
      byReleaseOf(cluster, app),
      isReceived && isReceivedByAll ? [] : [app],
    );
  });
}

/** Finds stalled subscriptions. */
export function examineStalled(cluster: Cluster, app: string, subscriber: SubscriberStatus | undefined): Finding[] {
  return (subscriber?.topics ?? []).flatMap(({ topic, lastReceivedAt, stalledSince }) => {
    if (!stalledSince || !isSubscribed(cluster, app, topic)) return [];
    const what = `is stalled: messages were published to ${topic}, but ${app} received none since ${lastReceivedAt}`;
    const advice = remedy(`Read the log of a sidecar of ${app}`, 'stalled-subscription');
    return [finding(`Subscription ${app}-${topic}`, what, advice)];
  });
}

/**
 * Returns a sentence for each topic with recent pending messages: too early to tell whether the subscription is
 * stalled.
 */
export function notReceivedYet({ appId, topics }: SubscriberStatus, now: Date): string[] {
  return topics.flatMap(({ topic, stalledSince, pendingSince }) => {
    const age = Math.round((now.getTime() - Date.parse(pendingSince ?? '')) / 1_000);
    return !stalledSince && age >= JUST_NOW_SECONDS && age <= LONG_AGO_SECONDS
      ? [`${appId} has not received a message published to ${topic} ${age} s ago: run the doctor again in a minute.`]
      : [];
  });
}

/** A receipt is recorded with a delay. */
const JUST_NOW_SECONDS = 5;
/**
 * Longer than the charts' maximum stall time. If an older message is pending and the subscription is not stalled, it
 * was received before the relay recorded it as sent.
 */
const LONG_AGO_SECONDS = 5_400;

/**
 * Checks that the apps' Subscriptions name existing Components that the apps may use, with settings that lose no
 * events.
 */
export function examineSubscriptions(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  return cluster.subscriptions.flatMap((subscription) => {
    const { metadata, scopes, spec } = subscription;
    const where = `Subscription ${metadata.name}`;
    const component = cluster.components.find((it) => it.metadata.name === spec.pubsubname);
    const release = definingRelease(releasesOf(cluster, apps), 'Subscription', metadata.name);
    const named = apps.filter((app) => scopes.includes(app));
    // One without scopes concerns the apps that have its Component, and the app that the chart defines it for.
    const unscoped = apps.filter(
      (app) => (component && isFor(component, app)) || (release && metadata.name.startsWith(`${app}-`)),
    );
    const readers = scopes.length > 0 ? named : unscoped;
    if (readers.length === 0) return [];
    // If Subscription and Component do not match, one differs from the release, which defines both.
    const by: Misdeclared['by'] = release
      ? { releases: [release.name] }
      : { advice: `Correct or delete ${where}, which no release of these charts defines`, section: 'foreign-resource' };
    const wrong = faultsOf(component, spec);
    if (release && component && spec.pubsubname !== `${release.chart}-${spec.topic}`)
      wrong.push(`names the Component ${spec.pubsubname} instead of the chart's Component for its topic`);
    if (scopes.length === 0) wrong.push('has no scopes: it applies to every app in the namespace');
    const all = { ...spec, ...spec.routes };
    const added = Object.entries(all).flatMap(([key, value]) => (!SET.includes(key) && isSet(value) ? [key] : []));
    return [
      ...wrong.map((what) => misdeclared(where, what, by, readers)),
      ...named.flatMap((app) => mismatchesOf(component, app, spec).map((what) => misdeclared(where, what, by, [app]))),
      // Restoring the manifest does not remove fields that it lacks.
      ...added.map((it) =>
        misdeclared(
          where,
          `has the field ${it}, which no chart sets`,
          { advice: `Remove ${it} from ${where}`, section: 'added-fields' },
          readers,
        ),
      ),
    ];
  });
}

/** Fields of a Subscription that the charts set. */
const SET = ['pubsubname', 'topic', 'metadata', 'routes', 'default'];
/** Empty values do not count: a conversion from Dapr's older version of Subscriptions adds such fields. */
const isSet = (value: unknown): boolean =>
  value !== null &&
  value !== '' &&
  !(
    typeof value === 'object' &&
    ((value as { enabled?: boolean }).enabled === false || Object.keys(value).length === 0)
  );

function mismatchesOf(
  component: Component | undefined,
  app: string,
  { pubsubname, topic }: Subscription['spec'],
): string[] {
  const named = `names the Component ${pubsubname}`;
  if (!component) return [`${named}, which is missing`];
  const found: string[] = [];
  if (!isFor(component, app)) found.push(`${named}, whose scopes do not include ${app}`);
  if (!maySubscribe(component, app, topic))
    found.push(`${named}, whose subscriptionScopes or allowedTopics do not allow ${app} to receive ${topic}`);
  return found;
}

function faultsOf(component: Component | undefined, { metadata, topic, routes }: Subscription['spec']): string[] {
  const found: string[] = [];
  if (routes.default !== `/events/${topic}`)
    found.push(
      `is delivered to ${routes.default ?? 'no path'} instead of /events/${topic}: Dapr drops an event that the app answers with 404`,
    );
  if (metadata.rawPayload !== 'true')
    found.push(
      'is not raw (metadata.rawPayload): the sidecar would retry messages that are not CloudEvents indefinitely',
    );
  if (component?.spec.type === 'pubsub.rabbitmq' && metadata.queueType !== 'quorum')
    found.push('has no quorum queue (metadata.queueType): a classic queue and its messages are lost with its server');
  return found;
}
