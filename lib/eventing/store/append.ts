import type { KeyObject } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { envelope, SEQUENCE_DIGITS, type System, sourceOf, topicOf } from '../cloud-event.ts';
import { markOutboxWritten } from '../outbox/outbox.ts';
import { hasAppend } from '../schema-before.ts';
import { execute } from '../sql.ts';
import type { DomainEvent } from './domain-event.ts';
import { encryptValue, type Keyring } from './keyring.ts';
import { provenance } from './provenance.ts';

/** Largest message, in bytes, that every broker accepts by default, with room for what Dapr adds. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

export interface AppendOptions {
  readonly system: System;
  /** The program that records, stored with each event: `member`, `other-device-logout`. */
  readonly program: string;
  readonly keyring: Keyring;
}

/**
 * Stores events and their internal messages, in `em`'s transaction. Aggregates that are being created need one statement; others need one
 * more, which reads their keys.
 * @param created ids of entities that this transaction creates
 * @throws RangeError when a message is too large for brokers; Error when an aggregate's key is destroyed
 */
export async function appendEvents(
  em: EntityManager,
  events: readonly DomainEvent[],
  created: ReadonlySet<unknown>,
  options: AppendOptions,
): Promise<void> {
  const { keyring } = options;
  const ids = [...new Set(events.map((event) => event.aggregateId))];
  const erased = [...new Set(events.filter((event) => event.erases).map((event) => event.aggregateId))];
  const canCreate = await hasAppend(em);
  const fresh = keyring.create(ids.filter((id) => canCreate && created.has(id) && !erased.includes(id)));
  const others = ids.filter((id) => !fresh.keys.has(id));
  const keys = others.length > 0 ? await keyring.keysFor(em, others, { erased }) : new Map<string, KeyObject>();
  const isStored = await append(em, events, new Map([...keys, ...fresh.keys]), fresh.wrapped, options);
  // An aggregate that is being created had recorded events before.
  if (!isStored) await append(em, events, await keyring.keysFor(em, ids, { erased }), {}, options);
  if (erased.length > 0) await keyring.destroy(em, erased);
  markOutboxWritten(em.getTransactionContext());
}

/**
 * @param wrapped keys to be created, wrapped and in hex, by aggregate id
 * @returns false, with no event stored, if one of them exists already
 */
async function append(
  em: EntityManager,
  events: readonly DomainEvent[],
  keys: ReadonlyMap<string, KeyObject>,
  wrapped: Readonly<Record<string, string>>,
  { system, program }: AppendOptions,
): Promise<boolean> {
  const { requestedBy, traceparent } = provenance();
  const time = new Date().toISOString();
  const message = (event: DomainEvent) => messageOf(event, keys.get(event.aggregateId)!, { system, time, traceparent });
  const values = [program, requestedBy, traceparent, time, topicOf(system, 'internal')];
  if (!(await hasAppend(em))) {
    const items = events.map((it) => `{"aggregate_type":${JSON.stringify(it.aggregateType)},"message":${message(it)}}`);
    await execute(em, APPEND_BEFORE, [`[${items.join(',')}]`, ...values]);
    return true;
  }
  const headOf = ({ aggregateType, aggregateId }: DomainEvent) => `${aggregateType} ${aggregateId}`;
  const byHead = Map.groupBy(events, headOf);
  const heads = [...byHead.values()].map((of) => ({
    type: of[0]!.aggregateType,
    id: of[0]!.aggregateId,
    events: of.length,
  }));
  const places = new Map([...byHead.keys()].map((head, index) => [head, index + 1]));
  const items = events.map((it) => `{"head":${places.get(headOf(it))},"message":${message(it)}}`);
  const call = 'select eventing.append_1(?::jsonb, ?::jsonb, ?::jsonb, ?, ?, ?, ?::timestamptz, ?) as "isStored"';
  const json = [JSON.stringify(heads), `[${items.join(',')}]`, JSON.stringify(wrapped)];
  const [row] = await execute<{ isStored: boolean }>(em, call, [...json, ...values]);
  return row!.isStored;
}

/** Returns a new event's message as JSON text; the database adds its sequence. */
function messageOf(
  event: DomainEvent,
  key: KeyObject,
  { system, time, traceparent }: { system: System; time: string; traceparent: string },
): string {
  const id = uuid();
  const encrypt = ([name, value]: [string, unknown]) => [name, encryptValue(key, value, `${id}/${name}`)];
  const attributes = Object.fromEntries(Object.entries(event.attributes).map(encrypt)) as Record<string, string>;
  const reason = event.reason === undefined ? undefined : encryptValue(key, event.reason, `${id}/#reason`);
  const message = JSON.stringify(
    envelope({
      id: uuid(),
      source: sourceOf(system),
      type: event.type,
      subject: event.aggregateId,
      time,
      eventid: id,
      traceparent,
      data: { attributes, reason },
    }),
  );
  const bytes = Buffer.byteLength(message);
  if (bytes > MAX_MESSAGE_BYTES)
    throw new RangeError(`message of ${event.type} has ${bytes} bytes; brokers accept at most ${MAX_MESSAGE_BYTES}`);
  return message;
}

// For the schema of the last release, which has no function for it (docs/decisions/0015). Remove in the next release.
const APPEND_BEFORE = `
with raised as (
  select e.place as ord, (m ->> 'eventid')::uuid as id, aggregate_type, (m ->> 'subject')::uuid as aggregate_id, m ->> 'type' as event_type,
      m #> '{data,attributes}' as attributes, m #>> '{data,reason}' as reason, m as message
    from jsonb_array_elements(?::jsonb) with ordinality as e(event, place),
      lateral (select event ->> 'aggregate_type' as aggregate_type, event -> 'message' as m) given
), head as (
  insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence)
  select aggregate_type, aggregate_id, count(*) from raised group by 1, 2 order by 1, 2
  on conflict (aggregate_type, aggregate_id)
    do update set last_sequence = s.last_sequence + excluded.last_sequence, changed_at = clock_timestamp()
  returning aggregate_type, aggregate_id, last_sequence
), numbered as (
  select raised.*, head.last_sequence - count(*) over (partition by aggregate_type, aggregate_id)
      + row_number() over (partition by aggregate_type, aggregate_id order by ord) as sequence
  from raised join head using (aggregate_type, aggregate_id)
), stored as (
  insert into eventing.event_store
    (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
  select id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, ?, ?, ?, ?::timestamptz from numbered
)
insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
select (message ->> 'id')::uuid, id, 'internal', ?, aggregate_id::text,
    message || jsonb_build_object('sequence', lpad(sequence::text, ${SEQUENCE_DIGITS}, '0'))
  from numbered order by ord`;
