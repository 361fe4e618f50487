import type { Component } from './cluster.ts';

/** What is wrong with one value, as a clause; undefined when nothing is. */
type Rule = (value: string | undefined) => string | undefined;

const shown = (value: string | undefined): string => (value === undefined ? 'not set' : `"${value}"`);
/** `0`, `0s` and what is empty is what daprd takes for not set; so is what is negative. */
const isPositive = (value: string | undefined): boolean => /^[^-]*[1-9]/.test(value ?? '');

const must =
  (wanted: string, why: string): Rule =>
  (value) =>
    value?.toLowerCase() === wanted ? undefined : `is ${shown(value)} and has to be ${wanted}: ${why}`;
const positive =
  (why: string): Rule =>
  (value) =>
    isPositive(value) ? undefined : `is ${shown(value)} and has to be more than nothing: ${why}`;
const unlimited =
  (why: string): Rule =>
  (value) =>
    isPositive(value) ? `is set: ${why}` : undefined;
/** Left at its default it is well. */
const never =
  (bad: readonly string[], why: string): Rule =>
  (value) =>
    value !== undefined && bad.includes(value.toLowerCase()) ? `is ${shown(value)}: ${why}` : undefined;
const holds =
  (part: string, why: string): Rule =>
  (value) =>
    value?.includes(part) ? undefined : `is ${shown(value)} and has to hold ${part}: ${why}`;
const steps =
  (why: string): Rule =>
  (value) =>
    value?.split(',').every(isPositive)
      ? undefined
      : `is ${shown(value)} and has to be durations, each more than nothing: ${why}`;
const milliseconds =
  (why: string): Rule =>
  (value) =>
    value === undefined || /^[1-9]\d*$/.test(value)
      ? undefined
      : `is ${shown(value)} and has to be a whole number of milliseconds, without a unit: ${why}`;

const YES = ['true', 't', '1', 'y', 'yes', 'on'];
const NO = ['false', 'f', '0', 'n', 'no', 'off'];

/**
 * By type of component and name of its metadata: what loses events, or stops them, when it is left at its default or set to something else.
 * Each of these was seen to happen, or is in the source of Dapr 1.18 (docs/decisions/0019).
 */
const RULES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  'pubsub.jetstream': {
    ackWait: positive('a refused delivery would come again at once, thousands of times a second'),
    backOff: steps(
      'each event would come again every ackWait while the app cannot answer, and wait in the sidecar each time',
    ),
    durableName: holds('{appID}', 'a durable of several apps gives each event to one of them only'),
    deliverPolicy: must('all', 'what was published before the app came would never be delivered'),
    concurrencyMode: must('single', '"parallel" acknowledges before the handler has finished'),
    maxDeliver: unlimited('after so many deliveries the broker gives an event up'),
    ackPolicy: never(['all', 'none'], 'events would count as heard that no app has answered for'),
    startSequence: unlimited('what is before it would never be heard'),
    startTime: unlimited('what is before it would never be heard'),
    memoryStorage: never(YES, 'what each app has heard would be forgotten with a restart of the broker'),
  },
  'pubsub.rabbitmq': {
    consumerID: holds('{appID}', 'a queue of several apps gives each event to one of them only'),
    publisherConfirm: must('true', 'what the broker never stored would count as sent'),
    deliveryMode: must('2', 'messages would be gone when the broker restarts'),
    durable: must('true', 'queues would be gone when the broker restarts'),
    deletedWhenUnused: must('false', 'queues would go with their last consumer, and what is in them'),
    autoAck: must('false', 'a delivery would be done before it is handled'),
    requeueInFailure: must('true', 'what a handler refuses would be thrown away'),
    prefetchCount: positive('all that waits would be delivered at once'),
    enableDeadLetter: never(YES, 'what an app cannot handle yet would leave its queue for good'),
    maxLen: unlimited('a queue would drop what a slow app has not read'),
    maxLenBytes: unlimited('a queue would drop what a slow app has not read'),
    ttlInSeconds: unlimited('a queue would drop what a slow app has not read'),
  },
  'pubsub.redis': {
    consumerID: holds('{appID}', 'a group of several apps gives each event to one of them only'),
    processingTimeout: positive('what a pod that died had in its hands would come back late, or with nothing never'),
    redeliverInterval: milliseconds(
      'with nothing, what a pod that died had in its hands would never come back; a unit is passed over',
    ),
    maxLenApprox: unlimited('a length trims what a slow subscriber has not read'),
  },
  'pubsub.kafka': {
    consumerGroup: holds('{appID}', 'a group of several apps gives each event to one of them only'),
    initialOffset: must('oldest', 'what was published before the app came would never be delivered'),
    consumeRetryEnabled: never(NO, 'what an app cannot handle yet would be passed over'),
  },
};

/** Whether anything is known of what a component of this type loses. */
export const isKnownType = (type: string): boolean => Object.hasOwn(RULES, type);

/** What of a component's settings loses events, a clause each. */
export function badSettings(component: Component): string[] {
  return Object.entries(RULES[component.spec.type] ?? {}).flatMap(([key, rule]) => {
    const clause = rule(valueIn(component, key));
    return clause ? [`${key} ${clause}`] : [];
  });
}

/** Of several of one name the last counts, in whatever letters it is written, as daprd has it. */
export function valueIn({ spec }: Component, key: string): string | undefined {
  const value = spec.metadata.findLast(({ name }) => name.toLowerCase() === key.toLowerCase())?.value;
  return value === undefined || value === null ? undefined : String(value);
}
