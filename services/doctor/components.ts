import type { Subscriber } from '#eventing/subscribers';
import { type Cluster, type Component, isFor, type Resiliency } from './cluster.ts';
import { byReleaseOf, type Misdeclared, makerOf, misdeclared } from './finding.ts';
import { reportsOf } from './pods.ts';
import { badSettings, valueIn } from './rules.ts';

/** What loses events, or stops them, of each Component that these apps may use. */
export function examineComponents(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  return cluster.components
    .filter(({ spec }) => spec.type.startsWith('pubsub.'))
    .flatMap((component) => {
      const hearing = heardThrough(cluster, component, apps);
      const readers = apps.filter((app) => component.scopes.includes(app));
      if (hearing.length + readers.length === 0) return [];
      const { name } = component.metadata;
      const where = `Component ${name}`;
      const wrong = badSettings(component);
      if (component.scopes.length === 0) wrong.push('it has no scopes: every app of the namespace may use it');
      wrong.push(...hearing.flatMap(({ app, topics }) => badDurable(component, app, topics)));
      const all = readers.length > 0 ? readers : hearing.map(({ app }) => app);
      const words = `make ${name} as the charts make Components, or have it made so: it is not a chart's of ours`;
      const by = makerOf(cluster, apps, component, words);
      return [
        ...wrong.map((what) => misdeclared(where, what, by, all)),
        ...hearing.flatMap(({ app }) => examineResiliency(cluster, name, app)),
      ];
    });
}

/** What its sidecars publish through, or will after their next start, and is not there. */
export function examineGone(
  cluster: Cluster,
  app: string,
  subscriber: Subscriber | undefined,
  now: Date,
): Misdeclared[] {
  const loaded = reportsOf(cluster, app, subscriber, now).map(({ report }) =>
    (report?.components ?? []).filter(({ type }) => type.startsWith('pubsub.')).map(({ name }) => name),
  );
  const isHeardThrough = (name: string) =>
    cluster.subscriptions.some((it) => isFor(it, app) && it.spec.pubsubname === name);
  const isThere = (name: string) => cluster.components.some((it) => it.metadata.name === name && isFor(it, app));
  return [...new Set(loaded.flat())]
    .filter((name) => !isThere(name) && !isHeardThrough(name))
    .map((name) =>
      misdeclared(
        `Component ${name}`,
        `is not there for ${app}: its sidecars have it until they are replaced, and then no more`,
        byReleaseOf(cluster, app),
        loaded.every((it) => it.includes(name)) ? [] : [app],
      ),
    );
}

function examineResiliency(cluster: Cluster, component: string, app: string): Misdeclared[] {
  const known = cluster.resiliencies.filter((it) => isFor(it, app));
  if (triesForEver(known, component)) return [];
  const words = "see that it has no targets and policies of the names that the chart's Resiliency has";
  const by = known
    .map((it) => makerOf(cluster, [app], it, `Resiliency ${it.metadata.name}: ${words}`))
    .find((it) => 'words' in it);
  const what = `no Resiliency tries its deliveries to ${app} for ever: some brokers take what a handler refused for done`;
  return [misdeclared(`Component ${component}`, what, by ?? byReleaseOf(cluster, app), [app])];
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
  const scope = valueIn(component, 'subscriptionScopes')
    ?.split(';')
    .map((it) => it.split('='))
    .find(([name]) => name?.trim() === app);
  if (!scope) return !listIn(valueIn(component, 'protectedTopics')).includes(topic);
  return listIn(scope[1]).includes(topic);
}

const listIn = (value = ''): string[] => value.split(',').map((it) => it.trim());
