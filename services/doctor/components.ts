import { type Cluster, type Component, isFor, type Resiliency } from './cluster.ts';
import { finding, type Misdeclared, remake } from './finding.ts';
import { badSettings, valueIn } from './rules.ts';

/** What loses events, or stops them, of each Component that these apps may use. */
export function examineComponents(cluster: Cluster, apps: readonly string[]): Misdeclared[] {
  return cluster.components
    .filter(({ spec }) => spec.type.startsWith('pubsub.'))
    .flatMap((component) => {
      const hearing = heardThrough(cluster, component, apps);
      const isOurs = hearing.length > 0 || component.scopes.some((app) => apps.includes(app));
      if (!isOurs) return [];
      const where = `Component ${component.metadata.name}`;
      const wrong = badSettings(component);
      if (component.scopes.length === 0) wrong.push('it has no scopes: every app of the namespace may use it');
      wrong.push(...hearing.flatMap(({ app, topics }) => badDurable(component, app, topics)));
      const readers = component.scopes.length > 0 ? component.scopes : hearing.map(({ app }) => app);
      const remedy = remake('components.dapr.io', component.metadata);
      const untried = hearing.filter(({ app }) => !triesForEver(cluster.resiliencies, component.metadata.name, app));
      return [
        ...wrong.map((what) => ({ ...finding(where, what, remedy), readers })),
        ...untried.map(({ app }) => ({
          ...finding(
            where,
            `no Resiliency tries its deliveries to ${app} for ever: some brokers take what a handler refused for done`,
            '# let the chart make its Resiliency, and see that no other has policies of the same names',
          ),
          readers: [app],
        })),
      ];
    });
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

/** Whoever it is not scoped to knows nothing of it. Names are those of all that an app knows: of two the one that is read last counts. */
function triesForEver(resiliencies: readonly Resiliency[], component: string, app: string): boolean {
  const known = resiliencies.filter((it) => isFor(it, app));
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
