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

// The limits of the joins keep the planner from reading whole tables. The gap ends before the first event that has arrived, in any state.
const GAPS = `
with early as materialized (
  select consumer, stream, aggregate_id, received_at from eventing.kept_delivery
   where state = 'early' and next_attempt_at is null and received_at <= clock_timestamp() - make_interval(secs => ?)
   order by received_at limit ${MOST_EARLY}
), waiting as (
  select consumer, stream, aggregate_id, min(received_at) as received_at from early group by 1, 2, 3
), gap as (
  select waiting.*, coalesce(c.last_sequence, 0) + 1 as missing from waiting left join lateral (
    select last_sequence from eventing.cursor c
     where (c.consumer, c.stream, c.aggregate_id) = (waiting.consumer, waiting.stream, waiting.aggregate_id) limit 1
  ) c on true
)
select gap.consumer, gap.stream as source, gap.aggregate_id as "aggregateId", missing::float8 as "from", (here.sequence - 1)::float8 as "to",
  here.sequence::float8 as next, to_char(received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since
from gap cross join lateral (
  select sequence from eventing.kept_delivery k
   where (k.consumer, k.stream, k.aggregate_id) = (gap.consumer, gap.stream, gap.aggregate_id) and k.sequence >= gap.missing
     and k.state <> 'discarded'
   order by k.consumer, k.stream, k.aggregate_id, k.sequence limit 1
) here
where missing < here.sequence
order by received_at limit ?`;

/**
 * Moves an ordered consumer's cursor over a gap, so that it continues with event `next`. The skipped events count as duplicates
 * when they arrive later.
 * @returns false, with nothing done, unless `next` is the first event after the cursor that has arrived
 */
export async function skipGap(
  em: EntityManager,
  { consumer, source, aggregateId }: Pick<Gap, 'consumer' | 'source' | 'aggregateId'>,
  next: number,
): Promise<boolean> {
  const key = [consumer, source, aggregateId];
  return em.transactional(async (tx) => {
    const [first] = await execute<{ sequence: string }>(tx, FIRST_WAITING, [...key, await lockCursor(tx, key)]);
    if (Number(first?.sequence) !== next) return false;
    await advance(tx, key, next - 1);
    return true;
  });
}

const FIRST_WAITING = `
select sequence from eventing.kept_delivery
 where consumer = ? and stream = ? and aggregate_id = ? and sequence > ? and state <> 'discarded' order by sequence limit 1`;
