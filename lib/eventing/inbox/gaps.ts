import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from '../sql.ts';
import { advance, lockCursor } from './cursor.ts';

/** Events that an ordered consumer waits for: later ones have arrived, and these have not. */
export interface Gap {
  readonly consumer: string;
  /** CloudEvents source of the stream. */
  readonly source: string;
  readonly aggregateId: string;
  /** The first and the last missing sequence. */
  readonly from: number;
  readonly to: number;
  /** The event that waits behind the gap: its sequence. */
  readonly next: number;
  /** When the first of the later events was received, ISO 8601. */
  readonly since: string;
}

/**
 * Lists gaps, the oldest first. An event that failed is no gap: it is a dead letter, or retried.
 * @param ageSeconds least age; events of a younger one may be on their way
 */
export function findGaps(
  em: EntityManager,
  { ageSeconds, limit }: { ageSeconds: number; limit: number },
): Promise<Gap[]> {
  return execute<Gap>(em, GAPS, [ageSeconds, limit]);
}

/** Later events that are looked at, the oldest first. */
const MOST_EARLY = 10_000;

// The limits of the joins keep the planner from reading whole tables.
const GAPS = `
with early as materialized (
  select consumer, stream, aggregate_id, sequence, received_at from eventing.kept_delivery
   where state = 'early' and next_attempt_at is null and received_at <= clock_timestamp() - make_interval(secs => ?)
   order by received_at limit ${MOST_EARLY}
), waiting as (
  select consumer, stream, aggregate_id, min(sequence) as sequence, min(received_at) as received_at from early group by 1, 2, 3
), gap as (
  select waiting.*, coalesce(c.last_sequence, 0) + 1 as missing from waiting left join lateral (
    select last_sequence from eventing.cursor c
     where (c.consumer, c.stream, c.aggregate_id) = (waiting.consumer, waiting.stream, waiting.aggregate_id) limit 1
  ) c on true
)
select consumer, stream as source, aggregate_id as "aggregateId", missing::float8 as "from", (sequence - 1)::float8 as "to", sequence::float8 as next,
  to_char(received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since
from gap left join lateral (
  select 1 as it from eventing.kept_delivery k
   where (k.consumer, k.stream, k.aggregate_id, k.sequence) = (gap.consumer, gap.stream, gap.aggregate_id, gap.missing) limit 1
) failed on true
where missing < sequence and failed.it is null
order by received_at limit ?`;

/**
 * Moves an ordered consumer's cursor over a gap, so that it continues with event `toSequence`. Deferred events before that are
 * discarded; those that arrive later count as duplicates.
 * @returns false when the consumer has no gap that ends before `toSequence`, so that nothing is done
 */
export async function skipGap(
  em: EntityManager,
  { consumer, source, aggregateId }: Pick<Gap, 'consumer' | 'source' | 'aggregateId'>,
  toSequence: number,
): Promise<boolean> {
  const key = [consumer, source, aggregateId];
  return em.transactional(async (tx) => {
    const isWaiting = await execute(tx, WAITING, [...key, toSequence]);
    if (isWaiting.length === 0 || (await lockCursor(tx, key)) >= toSequence - 1) return false;
    await execute(tx, DISCARD_BEFORE, [...key, toSequence]);
    await advance(tx, key, toSequence - 1);
    return true;
  });
}

const OF_AGGREGATE = 'consumer = ? and stream = ? and aggregate_id = ?';
const WAITING = `select from eventing.kept_delivery where ${OF_AGGREGATE} and sequence = ? and state = 'early'`;
const DISCARD_BEFORE = `
update eventing.kept_delivery set state = 'discarded', next_attempt_at = null where ${OF_AGGREGATE} and sequence < ?`;
