import { defineEntity, p } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { type System, topicOf } from '../cloud-event.ts';
import { execute } from '../sql.ts';
import { type DomainEvent, raise } from '../store/domain-event.ts';
import type { Keyring } from '../store/keyring.ts';
import { type EventTrace, findTrace, type Message } from './event-trace.ts';
import type { DeferredDelivery } from './waiting.ts';

/** The aggregate of all canaries of a system. No other aggregate has this id, because all others are generated. */
export const CANARY_ID = '00000000-0000-4000-8000-0000ca9a41e5';

const schema = defineEntity({
  name: 'Canary',
  schema: 'eventing',
  tableName: 'canary',
  properties: { id: p.uuid().primary(), sentAt: p.datetime() },
});

/** The row that each canary changes: when the last one was sent. Created by the migrations of eventing. */
export class Canary extends schema.class {}
schema.setClass(Canary);

/** One step of a canary's path. */
export interface Hop {
  readonly name: string;
  /** When the canary passed this hop; null when it has not yet. */
  readonly at: string | null;
  /** Why the canary has not passed, as far as is known, and what to check. It applies only to the first hop not passed. */
  readonly problem: string | null;
}

/** Sends canaries: synthetic events that are followed through every hop. */
export interface Canaries {
  /** Sends a canary. @returns its event id */
  send(em: EntityManager): Promise<string>;
  /** Returns the path of a canary, hop by hop; undefined when there is no canary of this id. */
  follow(em: EntityManager, eventId: string): Promise<readonly Hop[] | undefined>;
}

/**
 * Creates the sender of a system's own canaries. Their path: row, relay, internal topic, recorder, broadcaster, relay,
 * external topic, recorder.
 * @param sent constructor of the canary event; one of the system's own events, so that it is processed like any other
 */
export function ownCanaries(
  { system, keyring, broadcaster }: { system: System; keyring: Keyring; broadcaster: { readonly name: string } },
  sent: (id: string, attributes: Record<string, never>) => DomainEvent,
): Canaries {
  return {
    async send(em) {
      await em.transactional(async (tx) => {
        const canary = await tx.findOneOrFail(Canary, CANARY_ID);
        canary.sentAt = new Date();
        raise(canary, sent(CANARY_ID, {}));
      });
      // Two concurrent callers may both get the later canary. Wherever it arrives, the earlier one has arrived as well.
      const [row] = await execute<{ id: string }>(em, LATEST, [CANARY_ID]);
      return row!.id;
    },
    async follow(em, eventId) {
      const trace = await findTrace(em, keyring, eventId);
      return trace?.aggregateId === CANARY_ID ? hopsOf(trace, system, broadcaster.name) : undefined;
    },
  };
}

/** Returns the hop of another system's canary in this system: its arrival at a consumer. */
export async function receivedHere(
  em: EntityManager,
  { keyring, consumer, topic, eventId }: { keyring: Keyring; consumer: string; topic: string; eventId: string },
  name: string,
): Promise<Hop> {
  const trace = await findTrace(em, keyring, eventId);
  const at = trace?.handledBy.find((by) => by.consumer === consumer)?.at ?? null;
  return { name, at, problem: at === null ? notApplied(deferredBy(trace, consumer), name, topic) : null };
}

const LATEST = 'select id from eventing.event_store where aggregate_id = ? order by sequence desc limit 1';

function hopsOf(trace: EventTrace, system: System, broadcaster: string): Hop[] {
  const [internal, external] = [topicOf(system, 'internal'), topicOf(system, 'external')];
  // The oldest message per topic: the event may have been republished since.
  const firstOn = (topic: string) => trace.messages.find((it) => it.topic === topic);
  const [internalMessage, externalMessage] = [firstOn(internal), firstOn(external)];
  const deferred = deferredBy(trace, broadcaster);
  // Any receiver proves that the topic works.
  const received = internalMessage?.publishedAt ?? deferred?.receivedAt ?? externalMessage?.createdAt ?? null;
  return [
    { name: 'row', at: trace.committedAt ?? null, problem: NOT_STORED },
    relay(internalMessage, internal),
    { name: `topic ${internal}`, at: received, problem: notDelivered(internal) },
    recorder(internalMessage, internal),
    { name: broadcaster, at: externalMessage?.createdAt ?? null, problem: notApplied(deferred, broadcaster, internal) },
    relay(externalMessage, external),
    recorder(externalMessage, external),
  ];
}

const NOT_STORED = 'the canary is not in event_store: check the log of the API that received the request';

function relay(message: Message | undefined, topic: string): Hop {
  const { attempts = 0, lastError, sentAt = null } = message ?? {};
  const problem = lastError
    ? `publishing to ${topic} failed (attempts: ${attempts}): ${lastError}; check the relay’s log and the parked messages`
    : 'the message is still in the outbox: no relay is running, or it cannot publish; check the relay’s log and the broker';
  return { name: `relay to ${topic}`, at: sentAt, problem };
}

function recorder(message: Message | undefined, topic: string): Hop {
  const problem = `the message is not confirmed: the recorder has not received it from ${topic}; ${CHECK_SUBSCRIPTION}`;
  return { name: `recorder of ${topic}`, at: message?.publishedAt ?? null, problem };
}

const CHECK_SUBSCRIPTION = 'check that it is running, has a Subscription, and is named in the scopes of the Component';

const notDelivered = (topic: string): string =>
  `the sidecar accepted the message, but no consumer has received it from ${topic}: check that the consumers are ` +
  'running, have Subscriptions and are named in the scopes of the Component, and that the broker stored the message';

function notApplied(deferred: DeferredDelivery | undefined, receiver: string, topic: string): string {
  if (!deferred) return `${receiver} has not received the canary from ${topic}: ${CHECK_SUBSCRIPTION}`;
  return deferred.state === 'early'
    ? `${receiver} has deferred the canary until it receives an earlier canary: check where that one stopped`
    : `${receiver} received the canary but cannot apply it (${deferred.state}): ${deferred.lastError}; check its log and dead letters`;
}

function deferredBy(trace: EventTrace | undefined, consumer: string): DeferredDelivery | undefined {
  return trace?.deferred.find((it) => it.consumer === consumer);
}
