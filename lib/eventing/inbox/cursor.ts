import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import { hasConflictTables } from '../schema-before.ts';
import { execute } from '../sql.ts';

/**
 * Locks the cursor of one consumer and aggregate, creating it at 0.
 * @param key consumer, stream, aggregate id
 * @returns the sequence applied last
 */
export async function lockCursor(em: EntityManager, key: readonly unknown[]): Promise<number> {
  await execute(
    em,
    'insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values (?, ?, ?, 0) on conflict do nothing',
    key,
  );
  const [cursor] = await execute<{ last_sequence: string }>(em, `${SELECT_CURSOR} for update`, key);
  return Number(cursor!.last_sequence);
}

/**
 * Moves the cursor to `sequence`, and past discarded deliveries that follow it. Makes the deferred delivery of the next
 * sequence due, if there is one.
 * @returns whether such a delivery is deferred and not dead
 */
export async function advance(em: EntityManager, key: readonly unknown[], sequence: number): Promise<boolean> {
  const next = await execute<{ state: string; event_id: string; event_type: string }>(
    em,
    `update eventing.kept_delivery set next_attempt_at = case when state in ('early', 'failing') then clock_timestamp() end
      where consumer = ? and stream = ? and aggregate_id = ? and sequence = ? returning state, event_id, event_type`,
    [...key, sequence + 1],
  );
  const discarded = next.find(({ state }) => state === 'discarded');
  if (discarded) {
    await recordSequence(em, key, sequence + 1, { eventId: discarded.event_id, type: discarded.event_type });
    return advance(em, key, sequence + 1);
  }
  await execute(
    em,
    'update eventing.cursor set last_sequence = ? where consumer = ? and stream = ? and aggregate_id = ?',
    [sequence, ...key],
  );
  return next.some(({ state }) => state !== 'dead');
}

/** Records which event had this sequence, so that a conflicting one is detected. */
export async function recordSequence(
  em: EntityManager,
  key: readonly unknown[],
  sequence: number,
  { eventId, type }: Pick<ReceivedEvent, 'eventId' | 'type'>,
): Promise<void> {
  if (await hasConflictTables(em)) await execute(em, RECORD_SEQUENCE, [...key, sequence, eventId, type]);
}

const RECORD_SEQUENCE =
  'insert into eventing.applied (consumer, stream, aggregate_id, sequence, event_id, event_type) values (?, ?, ?, ?, ?, ?) on conflict do nothing';
export const SELECT_CURSOR =
  'select last_sequence from eventing.cursor where consumer = ? and stream = ? and aggregate_id = ?';
