import type { Component } from './cluster.ts';

/** Returns the problem of a value, as a clause; undefined if there is none. */
type Rule = (value: string | undefined) => string | undefined;

const shown = (value: string | undefined): string => (value === undefined ? 'not set' : `"${value}"`);
/** daprd treats empty, zero (`0`, `0s`) and negative values as not set. */
const isPositive = (value: string | undefined): boolean => /^[^-]*[1-9]/.test(value ?? '');

const must =
  (wanted: string, why: string): Rule =>
  (value) =>
    value?.toLowerCase() === wanted ? undefined : `is ${shown(value)}, must be ${wanted}: ${why}`;
const positive =
  (why: string): Rule =>
  (value) =>
    isPositive(value) ? undefined : `is ${shown(value)}, must be greater than 0: ${why}`;
const unlimited =
  (why: string): Rule =>
  (value) =>
    isPositive(value) ? `is set: ${why}` : undefined;
/** Rejects these values; an absent value is right. */
const never =
  (bad: readonly string[], why: string): Rule =>
  (value) =>
    value !== undefined && bad.includes(value.toLowerCase()) ? `is ${shown(value)}: ${why}` : undefined;
const holds =
  (part: string, why: string): Rule =>
  (value) =>
    value?.includes(part) ? undefined : `is ${shown(value)}, must contain ${part}: ${why}`;
const steps =
  (why: string): Rule =>
  (value) =>
    value?.split(',').every(isPositive)
      ? undefined
      : `is ${shown(value)}, must be a list of durations greater than 0: ${why}`;
const milliseconds =
  (why: string): Rule =>
  (value) =>
    value === undefined || /^[1-9]\d*$/.test(value)
      ? undefined
      : `is ${shown(value)}, must be a whole number of milliseconds without a unit: ${why}`;

const YES = ['true', 't', '1', 'y', 'yes', 'on'];
const NO = ['false', 'f', '0', 'n', 'no', 'off'];

/**
 * Settings that lose or stop events, by component type and metadata name, at their default or with another value. Each
 * effect was observed, or is in the source of Dapr 1.18 (docs/decisions/0019).
 */
const RULES: Readonly<Record<string, Readonly<Record<string, Rule>>>> = {
  'pubsub.jetstream': {
    ackWait: positive('a failed delivery would be repeated immediately, thousands of times per second'),
    backOff: steps(
      'while the app fails, each event would be redelivered every ackWait, and queued in the sidecar each time',
    ),
    durableName: holds('{appID}', 'a durable of several apps delivers each event to only one of them'),
    deliverPolicy: must('all', 'events published before the consumer was created would never be delivered'),
    concurrencyMode: must('single', '"parallel" acknowledges before the handler has finished'),
    maxDeliver: unlimited('after this number of deliveries the broker drops an event'),
    ackPolicy: never(['all', 'none'], 'events would count as delivered without an acknowledgement of the app'),
    startSequence: unlimited('earlier events would never be delivered'),
    startTime: unlimited('earlier events would never be delivered'),
    memoryStorage: never(YES, 'the position of each app would be lost when the broker restarts'),
  },
  'pubsub.rabbitmq': {
    consumerID: holds('{appID}', 'a queue of several apps delivers each event to only one of them'),
    publisherConfirm: must('true', 'messages that the broker did not store would count as sent'),
    deliveryMode: must('2', 'messages would be lost when the broker restarts'),
    durable: must('true', 'queues would be lost when the broker restarts'),
    deletedWhenUnused: must('false', 'queues and their messages would be deleted with the last consumer'),
    autoAck: must('false', 'messages would be acknowledged before they are handled'),
    requeueInFailure: must('true', 'messages of failed deliveries would be dropped'),
    prefetchCount: positive('all waiting messages would be delivered together'),
    enableDeadLetter: never(YES, 'events that an app cannot handle yet would leave its queue permanently'),
    maxLen: unlimited('a queue would drop messages that a slow app has not consumed'),
    maxLenBytes: unlimited('a queue would drop messages that a slow app has not consumed'),
    ttlInSeconds: unlimited('a queue would drop messages that a slow app has not consumed'),
  },
  'pubsub.redis': {
    consumerID: holds('{appID}', 'a group of several apps delivers each event to only one of them'),
    processingTimeout: positive('pending messages of a crashed pod would be redelivered late, or with 0 never'),
    redeliverInterval: milliseconds(
      'with 0, pending messages of a crashed pod would never be redelivered; values with a unit are ignored',
    ),
    maxLenApprox: unlimited('the stream would drop messages that a slow app has not consumed'),
  },
  'pubsub.kafka': {
    consumerGroup: holds('{appID}', 'a group of several apps delivers each event to only one of them'),
    initialOffset: must('oldest', 'events published before the group was created would never be delivered'),
    consumeRetryEnabled: never(NO, 'events that an app cannot handle yet would be skipped'),
  },
};

/** Whether there are rules for this component type. */
export const isKnownType = (type: string): boolean => Object.hasOwn(RULES, type);

/** Returns a clause for each setting that loses or stops events. */
export function badSettings(component: Component): string[] {
  return Object.entries(RULES[component.spec.type] ?? {}).flatMap(([key, rule]) => {
    const clause = rule(valueIn(component, key));
    return clause ? [`${key} ${clause}`] : [];
  });
}

/**
 * Returns a setting's value as daprd reads it: names are case-insensitive, and of several entries the last one counts.
 */
export function valueIn({ spec }: Component, key: string): string | undefined {
  const value = spec.metadata.findLast(({ name }) => name.toLowerCase() === key.toLowerCase())?.value;
  return value === undefined || value === null ? undefined : String(value);
}
