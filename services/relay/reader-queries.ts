import type { Lease } from './lease.ts';
import type { OutboxMessage } from './message.ts';

export type Connection = Pick<Lease, 'query'>;

/** A message of the outbox, without its event. */
export interface OutboxRow {
  readonly position: number;
  readonly id: string;
  readonly key: string;
  readonly partition: number;
  readonly bytes: number;
  /** Whether it is parked or waits for its next attempt. */
  readonly isHeld: boolean;
  /** As text, because parsing would cost time and change large numbers; null if it is not fetched yet. */
  readonly event: string | null;
}

/** Events of this size are fetched once it is known that they fit in. */
const LARGE_BYTES = 8_192;
const IS_HELD = '(parked_at is not null or coalesce(next_attempt_at > now(), false))';
// Positions are far below 2^53.
const COLUMNS = `position::float8 as position, id, ordering_key as key, partition::int as partition, pg_column_size(envelope) as bytes,
  ${IS_HELD} as "isHeld"`;
const WITHOUT_EVENT = `${COLUMNS}, null as event`;

// The ranges of this file are written as comparisons of rows, and ordered by all their columns. With `partition = …` and `order by position`
// the planner may read the primary key from its beginning, once per partition, when it expects most rows to match.
const PAGE = `
select page.position::float8 as position, id, ordering_key as key, partition::int as partition, bytes, "isHeld",
  case when $6 and bytes < ${LARGE_BYTES} then envelope::text end as event
from (
  select o.* from unnest($2::smallint[], $3::bigint[]) as wanted(partition, mark)
  cross join lateral (
    select position, id, ordering_key, partition, pg_column_size(envelope) as bytes, ${IS_HELD} as "isHeld", envelope
    from eventing.outbox
     where topic = $1 and (partition, position) > (wanted.partition, wanted.mark) and partition <= wanted.partition
     order by outbox.partition, outbox.position limit $4
  ) o order by o.position limit $5
) page order by page.position`;

/**
 * Reads the first messages of a topic after the marks.
 * @param page.marks by partition
 * @param page.share limit per partition
 */
export function readPage(
  lease: Connection,
  topic: string,
  {
    marks,
    share,
    limit,
    withEvents,
  }: { marks: ReadonlyMap<number, number>; share: number; limit: number; withEvents: boolean },
): Promise<OutboxRow[]> {
  return lease.query<OutboxRow>(PAGE, [topic, [...marks.keys()], [...marks.values()], share, limit, withEvents]);
}

const KEYS = `
select o.* from unnest($2::text[], $3::bigint[]) with ordinality as wanted(key, first, ordinality)
cross join lateral (
  select ${WITHOUT_EVENT} from eventing.outbox
   where topic = $1 and (ordering_key, position) >= (wanted.key, wanted.first) and ordering_key <= wanted.key
   order by outbox.ordering_key, outbox.position limit $4
) o order by wanted.ordinality, o.position limit $5`;

/** Reads the first messages of each key, from its position in `froms` on. */
export function readKeys(
  lease: Connection,
  topic: string,
  { keys, froms, ofKey, limit }: { keys: readonly string[]; froms: readonly number[]; ofKey: number; limit: number },
): Promise<OutboxRow[]> {
  return lease.query<OutboxRow>(KEYS, [topic, keys, froms, ofKey, limit]);
}

export interface KeyRange {
  readonly key: string;
  /** Exclusive. */
  readonly after: number;
  readonly upTo: number;
}

// The ids are hashed once. In a prepared statement `<> all` would compare each row with each of them.
const FIRST_OF_KEYS = `
select wanted.key, o.position from unnest($2::text[], $3::bigint[], $4::bigint[]) as wanted(key, after, up_to)
cross join lateral (
  select position::float8 as position from eventing.outbox
   where topic = $1 and (ordering_key, position) > (wanted.key, wanted.after) and (ordering_key, position) <= (wanted.key, wanted.up_to)
     and id not in (select unnest($5::uuid[]))
   order by outbox.ordering_key, outbox.position limit 1
) o`;

/** Returns the first message of each key in its range, for the keys that have one. */
export function readFirstOfKeys(
  lease: Connection,
  topic: string,
  ranges: readonly KeyRange[],
  except: Iterable<string>,
): Promise<{ key: string; position: number }[]> {
  return lease.query(FIRST_OF_KEYS, [
    topic,
    ranges.map(({ key }) => key),
    ranges.map(({ after }) => after),
    ranges.map(({ upTo }) => upTo),
    [...except],
  ]);
}

/** Fetches missing events. @returns the messages that are still in the outbox: the others were confirmed meanwhile, so they had been sent */
export async function withEvents(lease: Connection, rows: readonly OutboxRow[]): Promise<OutboxMessage[]> {
  const missing = rows.filter(({ event }) => event === null).map(({ id }) => id);
  const fetched =
    missing.length === 0
      ? []
      : await lease.query<{ id: string; event: string }>(
          'select id, envelope::text as event from eventing.outbox where id = any ($1::uuid[])',
          [missing],
        );
  const events = new Map(fetched.map(({ id, event }) => [id, event]));
  return rows.flatMap(({ id, key: orderingKey, partition, position, event = null }) => {
    const found = event ?? events.get(id);
    return found === undefined ? [] : [{ id, orderingKey, partition, position, event: found }];
  });
}

// `partition + 0`: without statistics the planner would read all partitions by their index.
const DUE = `
select ${WITHOUT_EVENT} from eventing.outbox
 where (topic, next_attempt_at) >= ($1, '-infinity'::timestamptz) and (topic, next_attempt_at) <= ($1, now())
   and next_attempt_at is not null and parked_at is null and partition + 0 = any ($2::int[])
 order by topic, next_attempt_at limit $3`;

/** Returns messages whose next attempt is due: the relay's own retries, and those that operators have released. */
export function readDue(
  lease: Connection,
  topic: string,
  partitions: readonly number[],
  limit: number,
): Promise<OutboxRow[]> {
  return lease.query<OutboxRow>(DUE, [topic, partitions, limit]);
}

// The limit keeps the planner from reading all held messages for each id.
const NOT_HELD = `
select wanted.id from unnest($1::uuid[]) as wanted(id)
left join lateral (select parked_at, next_attempt_at from eventing.outbox where id = wanted.id limit 1) o on true
where o.parked_at is null and o.next_attempt_at is null`;

/** Returns those of the messages that are not held any more, or gone. */
export async function readNotHeld(lease: Connection, ids: readonly string[]): Promise<Set<string>> {
  const rows = await lease.query<{ id: string }>(NOT_HELD, [ids]);
  return new Set(rows.map(({ id }) => id));
}

const RANGES = `
select o.* from unnest($2::smallint[], $3::bigint[], $4::bigint[]) as range(partition, after, up_to)
cross join lateral (
  select ${WITHOUT_EVENT} from eventing.outbox
   where topic = $1 and (partition, position) > (range.partition, range.after) and (partition, position) <= (range.partition, range.up_to)
   order by outbox.partition, outbox.position limit $5
) o`;

export interface PartitionRange {
  readonly partition: number;
  /** Exclusive. */
  readonly after: number;
  readonly upTo: number;
}

/** Reads the first messages of each range. */
export function readRanges(
  lease: Connection,
  topic: string,
  ranges: readonly PartitionRange[],
  ofPartition: number,
): Promise<OutboxRow[]> {
  return lease.query<OutboxRow>(RANGES, [
    topic,
    ranges.map(({ partition }) => partition),
    ranges.map(({ after }) => after),
    ranges.map(({ upTo }) => upTo),
    ofPartition,
  ]);
}

/** Transaction ids: the oldest one in progress, and the next one. */
export interface Transactions {
  readonly oldest: bigint;
  readonly next: bigint;
}

export async function readTransactions(lease: Connection): Promise<Transactions> {
  const [row] = await lease.query<{ oldest: string; next: string }>(
    'select pg_snapshot_xmin(now)::text as oldest, pg_snapshot_xmax(now)::text as next from pg_current_snapshot() as now',
  );
  return { oldest: BigInt(row!.oldest), next: BigInt(row!.next) };
}
