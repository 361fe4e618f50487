import type { EntityManager } from '@mikro-orm/postgresql';
import type { Consumer } from '../consumer.ts';
import { type DeliveryFilter, deliveryConditions, MOST_AT_ONCE } from '../operator-actions.ts';
import { array, execute } from '../sql.ts';
import { advance, lockCursor, recordSequence } from './cursor.ts';
import { bodiesOf } from './deferred-bodies.ts';
import { type Due, readDeferred } from './deferred-deliveries.ts';
import { describeError } from './failures.ts';

/**
 * Makes a dead or failing delivery due immediately, with all its attempts restored.
 * @returns `not found` when there is no such delivery; `unreadable`, with the reason, when its body still cannot be parsed
 */
export async function redrive(
  em: EntityManager,
  consumer: string,
  eventId: string,
): Promise<'redriven' | 'not found' | { readonly unreadable: string }> {
  const [deferred] = await execute<Pick<Due, 'raw' | 'envelope'>>(
    em,
    "select raw, envelope from eventing.kept_delivery where consumer = ? and event_id = ? and state in ('dead', 'failing')",
    [consumer, eventId],
  );
  if (!deferred) return 'not found';
  try {
    readDeferred(deferred);
  } catch (error) {
    return { unreadable: describeError(error) };
  }
  return (await redriveAll(em, [{ consumer, eventId }])) > 0 ? 'redriven' : 'not found';
}

/**
 * Makes dead or failing deliveries due immediately, with all their attempts restored.
 * @returns how many
 */
export async function redriveAll(em: EntityManager, deliveries: readonly DeliveryKey[]): Promise<number> {
  const keys = [array(deliveries.map((it) => it.consumer)), array(deliveries.map((it) => it.eventId))];
  return (await execute(em, REDRIVE, keys)).length;
}

// The previous release stored bodies under the app-id itself: such a row moves to `<app-id>:body`.
const REDRIVE = `
update eventing.kept_delivery k set state = 'failing', attempts = 0, next_attempt_at = clock_timestamp(),
  consumer = case when k.envelope is null and k.consumer not like '%${bodiesOf('')}' then k.consumer || '${bodiesOf('')}' else k.consumer end
from unnest(?::text[], ?::uuid[]) as wanted(consumer, event_id)
where (k.consumer, k.event_id) = (wanted.consumer, wanted.event_id) and k.state in ('dead', 'failing') returning k.event_id`;

export interface DeliveryKey {
  readonly consumer: string;
  readonly eventId: string;
}

/** Locks the dead deliveries that match, the earliest first, each aggregate's in sequence: at most one more than may be changed at once. */
export function lockDead(em: EntityManager, filter: DeliveryFilter): Promise<DeliveryKey[]> {
  const { sql, values } = deliveryConditions(filter);
  return execute<DeliveryKey>(
    em,
    `select consumer, event_id as "eventId" from eventing.kept_delivery where state = 'dead' and ${sql}
      order by consumer, stream, aggregate_id, sequence, event_id limit ${MOST_AT_ONCE + 1} for update`,
    values,
  );
}

/** A consumer whose delivery is discarded. */
export type Discarding = Pick<Consumer, 'name' | 'order'> & {
  /** Whether it enqueues the system's external events: its subscribers would wait for a discarded one. */
  readonly isBroadcaster?: boolean;
};

/**
 * Discards a dead delivery. Its row stays visible; an ordered consumer continues with the aggregate's next event.
 * A forged event of this system (never stored) has no valid sequence, so discarding it moves no cursor.
 * @param ownSource CloudEvents source of the system that owns this database
 * @returns `not found` when there is no such dead delivery; `leaves a gap`, with nothing done, when the external stream would
 *   miss the event
 */
export async function discard(
  em: EntityManager,
  { name: consumer, order, isBroadcaster }: Discarding,
  eventId: string,
  ownSource: string,
): Promise<'discarded' | 'not found' | 'leaves a gap'> {
  return em.transactional(async (tx) => {
    const [row] = await execute<{ stream: string | null; aggregate_id: string; sequence: string; event_type: string }>(
      tx,
      `select stream, aggregate_id, sequence, event_type from eventing.kept_delivery
        where consumer = ? and event_id = ? and state = 'dead' for update`,
      [consumer, eventId],
    );
    if (!row) return 'not found';
    const isForged = row.stream === ownSource && !(await isStored(tx, row, eventId));
    if (isBroadcaster && row.stream && !isForged) return 'leaves a gap';
    await execute(tx, DISCARD, [isForged, consumer, eventId]);
    const key = [consumer, row.stream, row.aggregate_id];
    const sequence = Number(row.sequence);
    if (order === 'ordered' && row.stream && !isForged && (await lockCursor(tx, key)) === sequence - 1) {
      await recordSequence(tx, key, sequence, { eventId, type: row.event_type });
      await advance(tx, key, sequence);
    }
    return 'discarded';
  });
}

// A row without a stream moves no cursor.
const DISCARD = `
update eventing.kept_delivery set state = 'discarded', next_attempt_at = null, stream = case when ? then null else stream end
where consumer = ? and event_id = ?`;

async function isStored(
  em: EntityManager,
  { aggregate_id, sequence }: { aggregate_id: string; sequence: string },
  eventId: string,
): Promise<boolean> {
  const rows = await execute(
    em,
    'select 1 from eventing.event_store where id = ? and aggregate_id = ? and sequence = ?',
    [eventId, aggregate_id, sequence],
  );
  return rows.length > 0;
}
