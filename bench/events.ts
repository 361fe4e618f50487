import type { Client } from 'pg';
import { v7 as uuid } from 'uuid';
import { messageOf, type ReceivedEvent, type System, sourceOf } from '#eventing/cloud-event';
import type { Message } from './broker.ts';
import { TOPIC } from './harness.ts';

export const SYSTEM: System = { name: 'member', identifier: 'memberId' };
const AGGREGATES = 200;

export interface StoredMessage extends Message {
  readonly event: ReceivedEvent;
}

/** Makes events of 200 aggregates in turns, each with its sequence, as messages of 1 KB. */
export function makeEvents(count: number): StoredMessage[] {
  const aggregates = Array.from({ length: AGGREGATES }, () => uuid());
  return Array.from({ length: count }, (_, n) => {
    const event = {
      eventId: uuid(),
      type: 'member.changed',
      source: sourceOf(SYSTEM),
      aggregateId: aggregates[n % AGGREGATES]!,
      sequence: Math.floor(n / AGGREGATES) + 1,
      time: new Date().toISOString(),
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      data: { attributes: { value: 'x'.repeat(460) } },
    };
    const envelope = messageOf(event, { target: 'ALL', data: event.data });
    return {
      id: envelope.id,
      key: event.aggregateId,
      envelope: JSON.stringify(envelope),
      event: { ...event, messageId: envelope.id, target: 'ALL' },
    };
  });
}

/** Stores the events as the flush of a domain action does, and their messages as sent. */
export async function storeEvents(database: Client, messages: readonly StoredMessage[]): Promise<void> {
  for (let i = 0; i < messages.length; i += 1000) {
    const batch = messages.slice(i, i + 1000);
    await database.query(EVENTS, [JSON.stringify(batch.map(({ event }) => event))]);
    await database.query(RELAYED, [`[${batch.map(({ envelope }) => envelope).join(',')}]`, TOPIC]);
  }
  await database.query('analyze');
}

const EVENTS = `
insert into eventing.event_store
  (id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent, created_at)
select "eventId", 'member', "aggregateId", sequence, type, data -> 'attributes', 'bench', 'bench', traceparent, "time"
  from jsonb_to_recordset($1::jsonb) as given
    ("eventId" uuid, "aggregateId" uuid, sequence bigint, type text, data jsonb, traceparent text, "time" timestamptz)`;

const RELAYED = `
insert into eventing.relayed
  (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
select (e ->> 'id')::uuid, (e ->> 'eventid')::uuid, 'internal', $2, e ->> 'subject',
    hashtextextended(e ->> 'subject', 0) & 31, 'ALL', e, 0, clock_timestamp(), clock_timestamp() + interval '1 hour'
  from jsonb_array_elements($1::jsonb) as given(e)`;
