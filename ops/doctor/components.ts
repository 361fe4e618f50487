import type { SubscriberStatus } from '#eventing/subscriber-status';
import { type Cluster, type Component, isFor, type Resiliency } from './cluster.ts';
import { type Misdeclared, misdeclared } from './finding.ts';
import { reportsOf } from './pods.ts';
import { byReleaseOf, definingRelease, releasesOf } from './releases.ts';
import { badSettings, isKnownType, valueIn } from './rules.ts';

/** Finds settings that lose or stop events, in each Component that these apps use. */
export function examineComponents(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  const releases = releasesOf(cluster, apps);
  return cluster.components.flatMap((component) => {
    const { metadata, scopes, spec } = component;
    const release = definingRelease(releases, 'Component', metadata.name);
    if (!release && !spec.type.startsWith('pubsub.')) return [];
    const subscribers = subscribersThrough(cluster, component, apps);
    const named = apps.filter((app) => scopes.includes(app));
    const readers = named.length > 0 ? named : (release?.apps ?? subscribers.map(({ app }) => app));
    if (readers.length === 0) return [];
    const where = `Component ${metadata.name}`;
    const wrong = badSettings(component);
    if (release && !isKnownType(spec.type)) wrong.push(`has the unsupported type ${spec.type}, which no chart sets`);
    if (scopes.length === 0) wrong.push('has no scopes: every app in the namespace may use it');
    wrong.push(...subscribers.flatMap(({ app, topics }) => badDurable(component, app, topics)));
    const by: Misdeclared['by'] = release
      ? { releases: [release.name] }
      : { advice: `Correct ${where}, which no release of these charts defines`, section: 'foreign-resource' };
    return [
      ...wrong.map((what) => misdeclared(where, what, by, readers)),
      ...subscribers.flatMap(({ app }) => examineResiliency(cluster, where, metadata.name, app)),
    ];
  });
}

/** Finds missing Components of an app's chart. Running sidecars may still have them loaded. */
export function examineMissingComponents(
  cluster: Cluster,
  app: string,
  subscriber: SubscriberStatus | undefined,
  now: Date,
): Misdeclared[] {
  const releases = releasesOf(cluster, [app]);
  const loaded = reportsOf(cluster, app, subscriber, now).map(({ report }) =>
    (report?.components ?? []).map(({ name }) => name).filter((name) => definingRelease(releases, 'Component', name)),
  );
  const isSubscribedThrough = (name: string) =>
    cluster.subscriptions.some((it) => isFor(it, app) && it.spec.pubsubname === name);
  const exists = (name: string) => cluster.components.some((it) => it.metadata.name === name && isFor(it, app));
  // The chart's Resiliency names all of its Components, some of which are for other apps.
  const expected = cluster.resiliencies
    .filter(({ metadata }) => definingRelease(releases, 'Resiliency', metadata.name))
    .flatMap(({ spec }) => Object.keys(spec.targets.components))
    .filter((name) => definingRelease(releases, 'Component', name))
    .filter((name) => !cluster.components.some(({ metadata }) => metadata.name === name))
    .filter((name) => !cluster.subscriptions.some(({ spec }) => spec.pubsubname === name));
  return [...new Set([...loaded.flat(), ...expected])]
    .filter((name) => !exists(name) && !isSubscribedThrough(name))
    .map((name) => {
      const isLoadedByAll = loaded.every((it) => it.includes(name));
      const what = isLoadedByAll
        ? `is missing for ${app}: its running sidecars still have it, restarted ones will not`
        : `is missing for ${app}, which cannot publish through it`;
      return misdeclared(`Component ${name}`, what, byReleaseOf(cluster, app), isLoadedByAll ? [] : [app]);
    });
}

function examineResiliency(cluster: Cluster, where: string, component: string, app: string): Misdeclared[] {
  const known = cluster.resiliencies.filter((it) => isFor(it, app));
  if (retriesIndefinitely(known, component)) return [];
  const releases = releasesOf(cluster, [app]);
  const isOurs = ({ metadata }: Resiliency) => definingRelease(releases, 'Resiliency', metadata.name) !== undefined;
  const others = known.filter((it) => !isOurs(it)).map(({ metadata }) => metadata.name);
  const what = `has no Resiliency with unlimited retries for ${app}: some brokers drop an event when a delivery fails`;
  const found = (by: Misdeclared['by']) => [misdeclared(where, what, by, [app])];
  if (!definingRelease(releases, 'Component', component))
    return found({ advice: `Add a Resiliency with unlimited retries for ${component}`, section: 'foreign-resource' });
  // The chart's own Resiliency is right, but another one reuses its names.
  if (retriesIndefinitely(known.filter(isOurs), component))
    return found({
      advice: `Rename the targets and policies of ${others.join(', ')}, which override the chart's`,
      section: 'foreign-resource',
    });
  return found(byReleaseOf(cluster, app));
}

/** Returns the apps that are subscribed through a Component, with their topics. */
function subscribersThrough({ subscriptions }: Cluster, { metadata }: Component, apps: readonly string[]) {
  const through = subscriptions.filter(({ spec }) => spec.pubsubname === metadata.name);
  return apps
    .map((app) => {
      const topics = through.filter(({ scopes }) => scopes.includes(app)).map(({ spec }) => spec.topic);
      return { app, topics: [...new Set(topics)] };
    })
    .filter(({ topics }) => topics.length > 0);
}

/** JetStream: a durable consumer has one topic; a second topic with its name silently receives nothing. */
function badDurable(component: Component, app: string, topics: readonly string[]): string[] {
  if (component.spec.type !== 'pubsub.jetstream') return [];
  if (topics.length > 1)
    return [
      `is used by ${app} for ${topics.join(' and ')}: a durable consumer has one topic, the others receive nothing`,
    ];
  const durable = valueIn(component, 'durableName');
  return durable === undefined || durable.includes(topics[0]!)
    ? []
    : [`durableName is "${durable}", must contain ${topics[0]}: a second topic with this name would receive nothing`];
}

/** Of two policies with the same name, the one that daprd reads last counts, so all of them must be right. */
function retriesIndefinitely(known: readonly Resiliency[], component: string): boolean {
  const named = known.flatMap(({ spec }) => spec.targets.components[component] ?? []);
  return (
    named.length > 0 &&
    named.every(({ inbound }) => {
      const policies = known.flatMap(({ spec }) => spec.policies.retries[inbound?.retry ?? ''] ?? []);
      return policies.length > 0 && policies.every(isUnlimited);
    })
  );
}

/**
 * As in dapr/kit's retry.Config: retries are unlimited by default, and an exponential policy ends after 15 minutes
 * whatever `maxRetries` is (`MaxElapsedTime`, which a Resiliency cannot set).
 */
const isUnlimited = ({ policy, maxRetries }: Resiliency['spec']['policies']['retries'][string]): boolean =>
  (maxRetries ?? -1) < 0 && policy?.toLowerCase() !== 'exponential';

/**
 * Whether a Component allows an app to subscribe to a topic.
 * https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-scopes/
 */
export function maySubscribe(component: Component, app: string, topic: string): boolean {
  const allowed = valueIn(component, 'allowedTopics');
  if (allowed && !listIn(allowed).includes(topic)) return false;
  const scope = valueIn(component, 'subscriptionScopes')
    ?.split(';')
    .map((it) => it.split('='))
    .find(([name]) => name?.trim() === app);
  if (!scope) return !listIn(valueIn(component, 'protectedTopics')).includes(topic);
  return listIn(scope[1]).includes(topic);
}

const listIn = (value = ''): string[] => value.split(',').map((it) => it.trim());
