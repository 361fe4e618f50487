import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { Inbox } from '#eventing/inbox';
import { eventsIn } from '../../../services/family-account/events-in.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

/** A family-account system and all its consumers, in this process. */
export interface Reactions extends AsyncDisposable {
  readonly system: FamilyAccountSystem;
  /** Delivers events to all consumers of a topic in this process, as daprd would. */
  deliver(topic: string, events: readonly ReceivedEvent[]): Promise<void>;
  isMember(familyAccountId: string, memberId: string): Promise<boolean>;
  /** Returns the state of each deferred delivery of an aggregate's events. */
  deferredOf(aggregateId: string): Promise<Record<string, unknown>[]>;
}

/** Opens a family-account system on its own database, and starts its consumers. */
export async function openReactions(): Promise<Reactions> {
  const system = await openFamilyAccountSystem();
  const topics = eventsIn(system);
  const ignore = () => undefined;
  const inbox = new Inbox(system.orm, { ownSource: '/family-account', log: { warn: ignore, error: ignore } });
  inbox.start(Object.values(topics).flatMap(({ consumers = [] }) => consumers));
  return {
    system,
    async deliver(topic, events) {
      const { recorder, consumers = [] } = topics[topic]!;
      for (const event of events) {
        await Promise.all([
          recorder?.confirm(event.messageId),
          ...consumers.map((consumer) => inbox.deliver(consumer, event)),
        ]);
      }
    },
    isMember: async (id, memberId) => (await system.membersOf(id)).memberIds.includes(memberId),
    deferredOf: (aggregateId) =>
      system.database.sql('select state, attempts from eventing.kept_delivery where aggregate_id = $1', [aggregateId]),
    async [Symbol.asyncDispose]() {
      await inbox[Symbol.asyncDispose]();
      await system[Symbol.asyncDispose]();
    },
  };
}

/** Builds an event on the member system's external topic. */
export function memberEvent(memberId: string, sequence: number, eventType: string): ReceivedEvent {
  const time = new Date().toISOString();
  return {
    messageId: uuid(),
    eventId: uuid(),
    type: eventType,
    source: '/member',
    aggregateId: memberId,
    sequence,
    target: 'ALL',
    time,
    traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`,
    data: { memberId, eventType, attributeTypes: [], occurredAt: time },
  };
}

export const released = (memberId: string, sequence = 1) =>
  memberEvent(memberId, sequence, 'member.identity-verification-released');
