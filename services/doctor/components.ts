import type { Component, Resiliency } from './cluster.ts';

/** What is wrong with one value, as a clause; undefined when nothing is. */
type Rule = (value: string | undefined) => string | undefined;

const must =
  (wanted: string, why: string): Rule =>
  (value) =>
    value?.toLowerCase() === wanted ? undefined : `is ${shown(value)} and has to be ${wanted}: ${why}`;
const there =
  (why: string): Rule =>
  (value) =>
    value ? undefined : `is not set: ${why}`;
const absent =
  (why: string): Rule =>
  (value) =>
    value ? `is set: ${why}` : undefined;
const holds =
  (part: string, why: string): Rule =>
  (value) =>
    value?.includes(part) ? undefined : `is ${shown(value)} and has to hold ${part}: ${why}`;
const shown = (value: string | undefined): string => (value === undefined ? 'not set' : `"${value}"`);

/**
 * By type of component and name of its metadata: what loses events, or stops them, when it is left at its default or set to something else.
 * Each of these was seen to happen (docs/decisions/0009).
 */
const RULES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  'pubsub.jetstream': {
    ackWait: there('a refused delivery would come again at once, thousands of times a second'),
    durableName: holds('{appID}', 'a durable of several apps gives each event to one of them only'),
    deliverPolicy: must('all', 'what was published before the app came would never be delivered'),
    concurrencyMode: must('single', '"parallel" acknowledges before the handler has finished'),
    maxDeliver: absent('after so many deliveries the broker gives an event up'),
  },
  'pubsub.rabbitmq': {
    consumerID: holds('{appID}', 'a queue of several apps gives each event to one of them only'),
    publisherConfirm: must('true', 'what the broker never stored would count as sent'),
    deliveryMode: must('2', 'messages would be gone when the broker restarts'),
    durable: must('true', 'queues would be gone when the broker restarts'),
    deletedWhenUnused: must('false', 'queues would go with their last consumer, and what is in them'),
    autoAck: must('false', 'a delivery would be done before it is handled'),
    requeueInFailure: must('true', 'what a handler refuses would be thrown away'),
    prefetchCount: there('all that waits would be delivered at once'),
  },
  'pubsub.redis': {
    consumerID: holds('{appID}', 'a group of several apps gives each event to one of them only'),
    processingTimeout: there('what a pod that died had in its hands would come back late'),
    maxLenApprox: absent('a length trims what a slow subscriber has not read'),
  },
  'pubsub.kafka': {
    consumerGroup: holds('{appID}', 'a group of several apps gives each event to one of them only'),
    initialOffset: must('oldest', 'what was published before the app came would never be delivered'),
  },
};

/** What of a component loses events, a clause each. */
export function losses(component: Component, resiliencies: readonly Resiliency[]): string[] {
  const { name } = component.metadata;
  const wrong = Object.entries(RULES[component.spec.type] ?? {}).flatMap(([key, rule]) => {
    const clause = rule(valueIn(component, key));
    return clause ? [`${key} ${clause}`] : [];
  });
  if (component.scopes.length === 0) wrong.push('it has no scopes: every app of the namespace may use it');
  if (!resiliencies.some((it) => triesForEver(it, name)))
    wrong.push('no Resiliency tries its deliveries for ever: some brokers take what a handler refused for done');
  return wrong;
}

function triesForEver({ spec }: Resiliency, component: string): boolean {
  const retry = spec.targets.components[component]?.inbound?.retry;
  return retry !== undefined && spec.policies.retries[retry]?.maxRetries === -1;
}

/** Whether a component lets an app hear a topic. https://docs.dapr.io/developing-applications/building-blocks/pubsub/pubsub-scopes/ */
export function mayHear(component: Component, app: string, topic: string): boolean {
  const scope = valueIn(component, 'subscriptionScopes')
    ?.split(';')
    .map((it) => it.split('='))
    .find(([name]) => name?.trim() === app);
  if (!scope) return !listIn(valueIn(component, 'protectedTopics')).includes(topic);
  return listIn(scope[1]).includes(topic);
}

function valueIn({ spec }: Component, key: string): string | undefined {
  const value = spec.metadata.find(({ name }) => name === key)?.value;
  return value === undefined || value === null ? undefined : String(value);
}

const listIn = (value = ''): string[] => value.split(',').map((it) => it.trim());
