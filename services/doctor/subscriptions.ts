import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, type Component, isFor, isSubscribed, type Subscription } from './cluster.ts';
import { mayHear } from './components.ts';
import { type Finding, finding, type Misdeclared, misdeclared } from './finding.ts';
import { reportsOf } from './pods.ts';
import { byReleaseOf, makerOf, releasesOf } from './releases.ts';

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
    const where = `Subscription ${metadata.name}`;
    const component = cluster.components.find((it) => it.metadata.name === spec.pubsubname);
    const release = makerOf(releasesOf(cluster, apps), 'Subscription', metadata.name);
    const named = apps.filter((app) => scopes.includes(app));
    // Everybody's is for those who have what it names; and the one whose it was is to hear it.
    const everybodys = apps.filter(
      (app) => (component && isFor(component, app)) || (release && metadata.name.startsWith(`${app}-`)),
    );
    const readers = scopes.length > 0 ? named : everybodys;
    if (readers.length === 0) return [];
    // Of a Subscription and a Component that do not go together, one is not as the release has it, which makes both.
    const by: Misdeclared['by'] = release
      ? { releases: [release.name] }
      : { words: `mend or remove ${where}, which is not the chart's` };
    const wrong = faults(component, spec);
    if (release && component && spec.pubsubname !== `${release.chart}-${spec.topic}`)
      wrong.push(`names the Component ${spec.pubsubname}, which is not the chart's of that topic`);
    if (scopes.length === 0) wrong.push('has no scopes: every app of the namespace follows it');
    const all = { ...spec, ...spec.routes };
    const added = Object.entries(all).flatMap(([key, value]) => (!SET.includes(key) && isSet(value) ? [key] : []));
    return [
      ...wrong.map((what) => misdeclared(where, what, by, readers)),
      ...named.flatMap((app) => misfits(component, app, spec).map((what) => misdeclared(where, what, by, [app]))),
      // What a release does not hold, it does not take out either.
      ...added.map((it) =>
        misdeclared(where, `sets ${it}, which no chart does`, { words: `take ${it} out of ${where}` }, readers),
      ),
    ];
  });
}

/** What the charts set of a Subscription. */
const SET = ['pubsubname', 'topic', 'metadata', 'routes', 'default'];
/** Nor does it matter what is there and says nothing, as Dapr's older version of a Subscription does. */
const isSet = (value: unknown): boolean =>
  value !== null &&
  value !== '' &&
  !(
    typeof value === 'object' &&
    ((value as { enabled?: boolean }).enabled === false || Object.keys(value).length === 0)
  );

function misfits(component: Component | undefined, app: string, { pubsubname, topic }: Subscription['spec']): string[] {
  const named = `names the Component ${pubsubname}`;
  if (!component) return [`${named}, which is not there`];
  const found: string[] = [];
  if (!isFor(component, app)) found.push(`${named}, whose scopes do not name ${app}`);
  if (!mayHear(component, app, topic))
    found.push(`${named}, whose subscriptionScopes, or allowedTopics, do not let ${app} hear ${topic}`);
  return found;
}

function faults(component: Component | undefined, { metadata, topic, routes }: Subscription['spec']): string[] {
  const found: string[] = [];
  if (routes.default !== `/events/${topic}`)
    found.push(
      `is delivered to ${routes.default ?? 'no path'}: an app knows /events/${topic}, and what it answers 404 to counts as done`,
    );
  if (metadata.rawPayload !== 'true')
    found.push('is not raw (metadata.rawPayload): what is no CloudEvent would be refused by the sidecar, for ever');
  if (component?.spec.type === 'pubsub.rabbitmq' && metadata.queueType !== 'quorum')
    found.push(
      'has no quorum queue (metadata.queueType): a classic one is on one server, and what is in it goes with that',
    );
  return found;
}
