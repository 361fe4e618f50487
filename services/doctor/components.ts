import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, type Component, isFor, type Resiliency } from './cluster.ts';
import { type Misdeclared, misdeclared } from './finding.ts';
import { reportsOf } from './pods.ts';
import { byReleaseOf, makerOf, releasesOf } from './releases.ts';
import { badSettings, isKnownType, valueIn } from './rules.ts';

/** What loses events, or stops them, of each Component that these apps may use. */
export function examineComponents(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  const releases = releasesOf(cluster, apps);
  return cluster.components.flatMap((component) => {
    const { metadata, scopes, spec } = component;
    const release = makerOf(releases, 'Component', metadata.name);
    if (!release && !spec.type.startsWith('pubsub.')) return [];
    const hearing = heardThrough(cluster, component, apps);
    const named = apps.filter((app) => scopes.includes(app));
    const readers = named.length > 0 ? named : (release?.apps ?? hearing.map(({ app }) => app));
    if (readers.length === 0) return [];
    const where = `Component ${metadata.name}`;
    const wrong = badSettings(component);
    if (release && !isKnownType(spec.type)) wrong.push(`it is of type ${spec.type}, which no chart sets`);
    if (scopes.length === 0) wrong.push('it has no scopes: every app of the namespace may use it');
    wrong.push(...hearing.flatMap(({ app, topics }) => badDurable(component, app, topics)));
    const by: Misdeclared['by'] = release
      ? { releases: [release.name] }
      : { words: `have ${where} made as the charts make theirs: it is not a chart's of ours` };
    return [
      ...wrong.map((what) => misdeclared(where, what, by, readers)),
      ...hearing.flatMap(({ app }) => examineResiliency(cluster, where, metadata.name, app)),
    ];
  });
}

/** What its chart makes for its sidecars, and is not there: they may have it yet. */
export function examineGone(
  cluster: Cluster,
  app: string,
  subscriber: Subscriber | undefined,
  now: Date,
): Misdeclared[] {
  const releases = releasesOf(cluster, [app]);
  const loaded = reportsOf(cluster, app, subscriber, now).map(({ report }) =>
    (report?.components ?? []).map(({ name }) => name).filter((name) => makerOf(releases, 'Component', name)),
  );
  const isHeardThrough = (name: string) =>
    cluster.subscriptions.some((it) => isFor(it, app) && it.spec.pubsubname === name);
  const isThere = (name: string) => cluster.components.some((it) => it.metadata.name === name && isFor(it, app));
  // The chart's Resiliency names them all; not each of them is for each app.
  const made = cluster.resiliencies
    .filter(({ metadata }) => makerOf(releases, 'Resiliency', metadata.name))
    .flatMap(({ spec }) => Object.keys(spec.targets.components))
    .filter((name) => makerOf(releases, 'Component', name))
    .filter((name) => !cluster.components.some(({ metadata }) => metadata.name === name))
    .filter((name) => !cluster.subscriptions.some(({ spec }) => spec.pubsubname === name));
  return [...new Set([...loaded.flat(), ...made])]
    .filter((name) => !isThere(name) && !isHeardThrough(name))
    .map((name) => {
      const areAllHaving = loaded.every((it) => it.includes(name));
      const what = areAllHaving
        ? `is not there for ${app}: its sidecars have it until they are replaced, and then no more`
        : `is not there for ${app}, which publishes nothing through it`;
      return misdeclared(`Component ${name}`, what, byReleaseOf(cluster, app), areAllHaving ? [] : [app]);
    });
}

function examineResiliency(cluster: Cluster, where: string, component: string, app: string): Misdeclared[] {
  const known = cluster.resiliencies.filter((it) => isFor(it, app));
  if (triesForEver(known, component)) return [];
  const releases = releasesOf(cluster, [app]);
  const isOurs = ({ metadata }: Resiliency) => makerOf(releases, 'Resiliency', metadata.name) !== undefined;
  const others = known.filter((it) => !isOurs(it)).map(({ metadata }) => metadata.name);
  const what = `no Resiliency tries its deliveries to ${app} for ever: some brokers take what a handler refused for done`;
  const tell = (by: Misdeclared['by']) => [misdeclared(where, what, by, [app])];
  if (!makerOf(releases, 'Component', component)) return tell({ words: `have a Resiliency do so, as the charts do` });
  // As the chart has it, and others take its names.
  if (triesForEver(known.filter(isOurs), component))
    return tell({ words: `give Resiliency ${others.join(', ')} other targets and policies than the chart's has` });
  return tell(byReleaseOf(cluster, app));
}

/** Which of these apps hear which topics through a Component. */
function heardThrough({ subscriptions }: Cluster, { metadata }: Component, apps: readonly string[]) {
  const through = subscriptions.filter(({ spec }) => spec.pubsubname === metadata.name);
  return apps
    .map((app) => {
      const topics = through.filter(({ scopes }) => scopes.includes(app)).map(({ spec }) => spec.topic);
      return { app, topics: [...new Set(topics)] };
    })
    .filter(({ topics }) => topics.length > 0);
}

/** JetStream: a durable is of one topic; whatever else goes by its name gets nothing, without an error. */
function badDurable(component: Component, app: string, topics: readonly string[]): string[] {
  if (component.spec.type !== 'pubsub.jetstream') return [];
  if (topics.length > 1)
    return [`${app} hears ${topics.join(' and ')} through it: a durable is of one topic, and the others get nothing`];
  const durable = valueIn(component, 'durableName');
  return durable === undefined || durable.includes(topics[0]!)
    ? []
    : [`durableName is "${durable}" and has to hold ${topics[0]}: another topic by that name would get nothing`];
}

/** Names are those of all that an app knows: of two the one that is read last counts. */
function triesForEver(known: readonly Resiliency[], component: string): boolean {
  const named = known.flatMap(({ spec }) => spec.targets.components[component] ?? []);
  return (
    named.length > 0 &&
    named.every(({ inbound }) => {
      const policies = known.flatMap(({ spec }) => spec.policies.retries[inbound?.retry ?? ''] ?? []);
      return policies.length > 0 && policies.every(hasNoEnd);
    })
  );
}

/**
 * As dapr/kit's retry.Config has it: retries have no end unless told, and an exponential policy ends after 15 minutes, however many there may be
 * (`MaxElapsedTime`, which nothing in a Resiliency reaches).
 */
const hasNoEnd = ({ policy, maxRetries }: Resiliency['spec']['policies']['retries'][string]): boolean =>
  (maxRetries ?? -1) < 0 && policy?.toLowerCase() !== 'exponential';

/** Whether a component lets an app hear a topic. https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-scopes/ */
export function mayHear(component: Component, app: string, topic: string): boolean {
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
