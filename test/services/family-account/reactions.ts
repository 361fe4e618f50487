import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import { Inbox } from '#eventing/inbox';
import { eventsIn } from '../../../services/family-account/events-in.ts';
import { type FamilyAccountSystem, openFamilyAccountSystem } from './support.ts';

/** A family-account system whose consumers all run in this process. Opened before the tests of a file. */
export let system: FamilyAccountSystem;
let topics: ReturnType<typeof eventsIn>;
let inbox: Inbox;
beforeAll(async () => {
  system = await openFamilyAccountSystem();
  topics = eventsIn(system);
  const ignore = () => undefined;
  inbox = new Inbox(system.orm, { ownSource: '/family-account', log: { warn: ignore, error: ignore } });
  inbox.start(Object.values(topics).flatMap(({ consumers = [] }) => consumers));
});
afterAll(async () => {
  await inbox[Symbol.asyncDispose]();
  await system[Symbol.asyncDispose]();
});
beforeEach(() => {
  system.member.beforeAnswer = () => undefined;
});

/** Delivers events to all consumers of a topic in this process, as daprd would. */
export async function deliver(topic: string, events: readonly ReceivedEvent[]): Promise<void> {
  const { recorder, dataOf = ({ data }) => data, consumers = [] } = topics[topic]!;
  for (const event of events) {
    await Promise.all([
      recorder?.confirm({ topic, event, dataOf }),
      ...consumers.map((consumer) => inbox.deliver(consumer, event)),
    ]);
  }
}

export const isMember = async (familyAccountId: string, memberId: string): Promise<boolean> =>
  (await system.membersOf(familyAccountId)).memberIds.includes(memberId);

/** Returns the state of each deferred delivery of an aggregate's events. */
export const deferredOf = (aggregateId: string) =>
  system.database.sql('select state, attempts from eventing.kept_delivery where aggregate_id = $1', [aggregateId]);

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
