import type { EntityManager } from '@mikro-orm/postgresql';
import { type DeliveryFilter, deliveryConditions, type ParkedFilter, parkedConditions } from '../operator-actions.ts';
import { execute } from '../sql.ts';

export interface DeferredDelivery {
  readonly consumer: string;
  readonly eventId: string;
  readonly eventType: string | null;
  readonly aggregateId: string | null;
  readonly sequence: number | null;
  readonly state: string;
  readonly attempts: number;
  readonly nextAttemptAt: string | null;
  readonly lastError: string | null;
  readonly receivedAt: string;
}

/** Selects a moment as JSON writes it, in UTC. */
export const iso = (column: string, name: string) =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "${name}"`;

/** Selects all columns of `DeferredDelivery`. */
export const DEFERRED = `
select consumer, event_id as "eventId", event_type as "eventType", aggregate_id as "aggregateId", sequence::float8 as sequence, state, attempts,
  ${iso('next_attempt_at', 'nextAttemptAt')}, last_error as "lastError", ${iso('received_at', 'receivedAt')}
from eventing.kept_delivery`;

/**
 * Lists deferred deliveries in a state, oldest first: at most `limit` of those received after `after`, plus all received in
 * the same millisecond as the last one, so that the next page misses none.
 */
export function findDeferred(
  em: EntityManager,
  { state, after, limit, ...filter }: DeferredQuery & DeliveryFilter,
): Promise<DeferredDelivery[]> {
  const { sql, values } = deliveryConditions(filter);
  const matching = `state = ? and received_at >= date_trunc('milliseconds', ?::timestamptz) + interval '1 millisecond' and ${sql}`;
  const all = [state, after ?? '-infinity', ...values];
  return execute<DeferredDelivery>(
    em,
    `with last as (select received_at from eventing.kept_delivery where ${matching} order by received_at offset ? limit 1)
     ${DEFERRED} where ${matching}
       and received_at < coalesce((select date_trunc('milliseconds', received_at) + interval '1 millisecond' from last), 'infinity')
     order by received_at`,
    [...all, limit - 1, ...all],
  );
}

interface DeferredQuery {
  readonly state: 'early' | 'failing' | 'dead' | 'discarded';
  /** A time with milliseconds, as in `receivedAt`. */
  readonly after?: string | undefined;
  readonly limit: number;
}

/** Returns what was received, to inspect before a redrive: the event with its values encrypted, and the raw body. */
export async function findDeferredBody(
  em: EntityManager,
  consumer: string,
  eventId: string,
): Promise<{ event: unknown; raw: string | null } | undefined> {
  const [row] = await execute<{ envelope: unknown; raw: string | null }>(
    em,
    'select envelope, raw from eventing.kept_delivery where consumer = ? and event_id = ?',
    [consumer, eventId],
  );
  return row && { event: row.envelope, raw: row.raw };
}

/** A message that could not be published. It and its ordering key wait until an operator releases it. */
export interface ParkedMessage {
  readonly id: string;
  /** Position in the outbox. */
  readonly position: number;
  readonly eventId: string;
  readonly topic: string;
  readonly orderingKey: string;
  readonly attempts: number;
  readonly lastError: string | null;
  readonly parkedAt: string;
}

/** Lists parked messages, oldest first: at most `limit` after position `after`. */
export function findParked(
  em: EntityManager,
  { after, limit, ...filter }: { after: number; limit: number } & ParkedFilter,
): Promise<ParkedMessage[]> {
  const { sql, values } = parkedConditions(filter);
  return execute<ParkedMessage>(
    em,
    `select id, position::float8 as position, event_id as "eventId", topic, ordering_key as "orderingKey", attempts, last_error as "lastError",
       ${iso('parked_at', 'parkedAt')}
       from eventing.outbox where parked_at is not null and position > ? and ${sql} order by position limit ?`,
    [after, ...values, limit],
  );
}
