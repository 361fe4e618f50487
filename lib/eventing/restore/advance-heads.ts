import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { ALL_TARGETS, messageOf, type System, sourceOf, topicOf } from '../cloud-event.ts';
import { enqueueAll } from '../outbox/outbox.ts';
import { array, execute } from '../sql.ts';
import { provenance } from '../store/provenance.ts';
import { EVENT_COLUMNS, type EventRow, eventOf, type StoredEvent } from '../store/stored-event.ts';

/** An aggregate that has events ahead of its head, or that must record that it was restored. */
export interface StaleHead {
  readonly type: string;
  readonly id: string;
  readonly head: number;
}

export interface AdvanceHeadsOptions {
  readonly system: System;
  /** Type of the event that records that an aggregate was restored; it has no attributes. */
  readonly restoredType: string;
  /** Types of events that are an aggregate's last. */
  readonly erasing: readonly string[];
  /** Whether missing sequences are filled with restored events. If not, one of them is an error. */
  readonly acceptGap: boolean;
}

/** Aggregates processed in one batch. */
const PAGE = 200;

/**
 * Advances each aggregate's head over its imported events, republishes them, and records one `<aggregate>.restored` event,
 * unless the aggregate's last event was imported: nothing may follow that one. Missing sequences are filled with restored
 * events as well, because ordered consumers would wait for them indefinitely.
 * @returns `gaps`: the number of filled sequences; `over`: ids of the aggregates whose last event was imported
 * @throws Error when a sequence is missing and `acceptGap` is false
 */
export async function advanceHeads(
  em: EntityManager,
  aggregates: readonly StaleHead[],
  { system, restoredType, erasing, acceptGap }: AdvanceHeadsOptions,
): Promise<{ gaps: number; over: ReadonlySet<string> }> {
  const over = new Set<string>();
  let gaps = 0;
  for (let from = 0; from < aggregates.length; from += PAGE) {
    const page = aggregates.slice(from, from + PAGE);
    const imported = await eventsAhead(em, page);
    const advances = page.map((head) => advance(head, imported.get(head.id) ?? [], { restoredType, erasing }));
    for (const { id, isOver, missing } of advances) {
      if (isOver) over.add(id);
      gaps += missing;
    }
    if (gaps > 0 && !acceptGap) throw new Error(gapIn(advances.find(({ missing }) => missing > 0)!.id));
    const added = advances.flatMap(({ type, added }) => added.map((event) => ({ ...event, aggregateType: type })));
    await execute(em, INSERT_ADDED, [provenance().requestedBy, JSON.stringify(added)]);
    await execute(em, MOVE_HEADS, [JSON.stringify(advances.map(({ type, id, head }) => ({ type, id, head })))]);
    const source = sourceOf(system);
    const messages = advances.flatMap(({ all }) =>
      all.map((event) => messageOf({ ...event, source }, { target: ALL_TARGETS, data: event.data })),
    );
    await enqueueAll(em, 'internal', topicOf(system, 'internal'), messages);
  }
  return { gaps, over };
}

interface Advance extends StaleHead {
  readonly isOver: boolean;
  readonly missing: number;
  /** Restored events to be recorded. */
  readonly added: readonly StoredEvent[];
  /** Imported and added events, in sequence. */
  readonly all: readonly StoredEvent[];
}

function advance(
  { type, id, head }: StaleHead,
  imported: readonly StoredEvent[],
  { restoredType, erasing }: Pick<AdvanceHeadsOptions, 'restoredType' | 'erasing'>,
): Advance {
  const last = imported.at(-1)?.sequence ?? head;
  const isOver = imported.length > 0 && erasing.includes(imported.at(-1)!.type);
  const end = isOver ? last : last + 1;
  const sequences = new Set(imported.map((event) => event.sequence));
  const added: StoredEvent[] = [];
  for (let sequence = head + 1; sequence <= end; sequence++)
    if (!sequences.has(sequence)) added.push(newEvent(id, sequence, restoredType));
  const all = [...imported, ...added].sort((a, b) => a.sequence - b.sequence);
  return { type, id, head: end, isOver, missing: last - head - imported.length, added, all };
}

async function eventsAhead(em: EntityManager, page: readonly StaleHead[]): Promise<Map<string, StoredEvent[]>> {
  const events = new Map<string, StoredEvent[]>(page.map(({ id }) => [id, []]));
  const rows = await execute<EventRow>(em, AHEAD, [array(page.map(({ id }) => id))]);
  for (const event of rows.map(eventOf)) events.get(event.aggregateId)!.push(event);
  return events;
}

function newEvent(aggregateId: string, sequence: number, type: string): StoredEvent {
  const { traceparent } = provenance();
  const time = new Date().toISOString();
  return { eventId: uuid(), type, aggregateId, sequence, time, traceparent, data: { attributes: {} } };
}

const gapIn = (id: string): string =>
  `The topic lacks published events of ${id}: they cannot be recovered. Restore the database to a later moment, or set ` +
  'ACCEPT_GAP=true to fill their sequences';

const AHEAD = `
select ${EVENT_COLUMNS} from eventing.event_store f left join eventing.stream s on s.aggregate_type = f.aggregate_type and s.aggregate_id = f.aggregate_id
 where f.aggregate_id = any(?::uuid[]) and f.sequence > coalesce(s.last_sequence, 0) order by f.aggregate_id, f.sequence`;

const INSERT_ADDED = `
insert into eventing.event_store
  (id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent, created_at)
select "eventId", "aggregateType", "aggregateId", sequence, type, '{}', 'restore', ?, traceparent, time
  from jsonb_to_recordset(?::jsonb) as f("eventId" uuid, "aggregateType" text, "aggregateId" uuid, sequence bigint, type text, traceparent text,
    time timestamptz)`;

const MOVE_HEADS = `
insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence)
select type, id, head from jsonb_to_recordset(?::jsonb) as m(type text, id uuid, head bigint) order by 1, 2
  on conflict (aggregate_type, aggregate_id) do update set last_sequence = excluded.last_sequence, changed_at = clock_timestamp()`;
