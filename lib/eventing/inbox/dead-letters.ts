import type { EntityManager } from '@mikro-orm/postgresql';
import type { Consumer } from '../consumer.ts';
import { execute } from '../sql.ts';
import { advance, lockCursor, recordSequence } from './cursor.ts';
import { bodiesOf, type Due, readDeferred } from './deferred-deliveries.ts';
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
  const key = [consumer, eventId];
  const [deferred] = await execute<Pick<Due, 'raw' | 'envelope'>>(em, `select raw, envelope from ${REDRIVABLE}`, key);
  if (!deferred) return 'not found';
  try {
    readDeferred(deferred);
  } catch (error) {
    return { unreadable: describeError(error) };
  }
  // The previous release stored bodies under the app-id itself: move such a row to `<app-id>:body`.
  const isBody = deferred.envelope === null && !consumer.endsWith(bodiesOf(''));
  const rows = await execute(
    em,
    `update eventing.kept_delivery set state = 'failing', attempts = 0, next_attempt_at = clock_timestamp(), consumer = ?
      where consumer = ? and event_id = ? and state in ('dead', 'failing') returning event_id`,
    [isBody ? bodiesOf(consumer) : consumer, ...key],
  );
  return rows.length > 0 ? 'redriven' : 'not found';
}

const REDRIVABLE = "eventing.kept_delivery where consumer = ? and event_id = ? and state in ('dead', 'failing')";

/**
 * Discards a dead delivery. Its row stays visible; an ordered consumer continues with the aggregate's next event.
 * A forged event of this system (never stored) has no valid sequence, so discarding it moves no cursor.
 * @param ownSource CloudEvents source of the system that owns this database
 * @returns false when there is no such dead delivery
 */
export async function discard(
  em: EntityManager,
  { name: consumer, order }: Pick<Consumer, 'name' | 'order'>,
  eventId: string,
  ownSource: string,
): Promise<boolean> {
  return em.transactional(async (tx) => {
    const [row] = await execute<{ stream: string | null; aggregate_id: string; sequence: string; event_type: string }>(
      tx,
      `update eventing.kept_delivery set state = 'discarded', next_attempt_at = null
        where consumer = ? and event_id = ? and state = 'dead' returning stream, aggregate_id, sequence, event_type`,
      [consumer, eventId],
    );
    if (!row) return false;
    if (row.stream === ownSource && !(await isStored(tx, row, eventId))) {
      await execute(tx, CLEAR_STREAM, [consumer, eventId]);
      return true;
    }
    const key = [consumer, row.stream, row.aggregate_id];
    const sequence = Number(row.sequence);
    if (order === 'ordered' && row.stream && (await lockCursor(tx, key)) === sequence - 1) {
      await recordSequence(tx, key, sequence, { eventId, type: row.event_type });
      await advance(tx, key, sequence);
    }
    return true;
  });
}

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

const CLEAR_STREAM = 'update eventing.kept_delivery set stream = null where consumer = ? and event_id = ?';
