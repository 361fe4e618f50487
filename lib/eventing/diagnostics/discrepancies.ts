import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from '../sql.ts';

/** A stored event without an external message, neither published nor pending. */
export interface Unpublished {
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly committedAt: string;
}

/** A message that was received as this system's, for an event that it never stored. */
export interface NotStored {
  /** Consumer and event id of the dead letter. */
  readonly consumer: string;
  readonly eventId: string;
  readonly topic: string | null;
  readonly eventType: string | null;
  readonly receivedAt: string;
}

export interface Discrepancies {
  /** Oldest first, at most 100 per page. */
  readonly unpublished: readonly Unpublished[];
  /** Latest first, at most 100. */
  readonly notStored: readonly NotStored[];
  /** The event id to continue after; null after the last page. */
  readonly next: string | null;
}

/** Events compared per page, with four index look-ups each. */
const PAGE = 20_000;
const LIMIT = 100;

/**
 * Compares the event store with the external topic. Events that the broadcaster has deferred are no discrepancy: they are
 * listed among the deferred deliveries.
 * @param broadcaster name of that consumer
 * @param after event id to continue after (default: start `hours` ago)
 * @param ageMs how long an event may be in transit; younger events are not compared
 */
export async function findDiscrepancies(
  em: EntityManager,
  broadcaster: string,
  { after, hours, ageMs }: { after?: string | undefined; hours: number; ageMs: number },
): Promise<Discrepancies> {
  const now = Date.now();
  const bounds = [after ?? firstIdAt(now - hours * 3_600_000), firstIdAt(now - ageMs)];
  const [page] = await execute<{ last: string | null; unpublished: Unpublished[] }>(em, UNPUBLISHED, [
    ...bounds,
    broadcaster,
  ]);
  const notStored = await execute<NotStored>(em, NOT_STORED);
  return { unpublished: page!.unpublished, notStored, next: page!.last };
}

/** Returns the smallest UUIDv7 of a moment; event ids are UUIDv7. */
function firstIdAt(ms: number): string {
  const hex = Math.max(0, Math.trunc(ms)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}

const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;

const UNPUBLISHED = `
with page as materialized (
  select id, event_type, aggregate_id, sequence, created_at from eventing.event_store where id > ? and id < ? order by id limit ${PAGE}
), unpublished as (
  select * from page
   where not exists (select from eventing.outbox o where o.event_id = page.id and o.channel = 'external')
     and not exists (select from eventing.relayed r where r.event_id = page.id and r.channel = 'external')
     and not exists (select from eventing.published p where p.event_id = page.id and p.channel = 'external')
     and not exists (select from eventing.kept_delivery k where k.event_id = page.id and k.consumer = ? and k.state <> 'discarded')
   order by id limit ${LIMIT}
)
select case when (select count(*) from page) = ${PAGE} then (select id from page order by id desc limit 1) end as last,
    (select coalesce(jsonb_agg(jsonb_build_object('eventId', id, 'type', event_type, 'aggregateId', aggregate_id, 'sequence', sequence,
       'committedAt', ${iso('created_at')}) order by id), '[]') from unpublished) as unpublished`;

const NOT_STORED = `
select consumer, event_id as "eventId", topic, event_type as "eventType", ${iso('received_at')} as "receivedAt" from eventing.kept_delivery
 where state = 'dead' and last_error like 'NotGenuineError%' order by received_at desc limit ${LIMIT}`;
