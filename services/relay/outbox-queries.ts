import type { Lease } from './lease.ts';
import type { Message } from './waves.ts';

/** Messages read at once. A batch costs memory (16 MiB at most, and one message more) and time until leases can be balanced. */
const BATCH = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
/** Of one partition: fewer read rows that are not taken, and room for all partitions in a batch. */
const BATCH_OF_PARTITION = 100;

// Hops from topic to topic along the index, however many rows there are.
const TOPICS = `
with recursive hop as (
  select min(topic) as topic from eventing.outbox
  union all
  select (select min(topic) from eventing.outbox where topic > hop.topic) from hop where hop.topic is not null
)
select topic from hop where topic is not null`;

/** The topics that have messages in the outbox, whatever their state. */
export async function topicsWaiting(lease: Lease): Promise<string[]> {
  return (await lease.query<{ topic: string }>(TOPICS)).map(({ topic }) => topic);
}

// The oldest of every partition; never one whose key has an earlier one that waits for its next try or is parked. The envelopes are
// fetched only for those taken, and stay text: parsing them would cost time and change large numbers.
const claim = (lease: Lease) => `
with owned as materialized (${lease.owned}), due as (
  select candidate.position, candidate.bytes
  from owned join unnest($2::int[]) wanted(partition) using (partition)
  cross join lateral (
    select o.position, pg_column_size(o.envelope) as bytes from eventing.outbox o
     where o.topic = $1 and o.partition = owned.partition and o.id <> all ($3::uuid[])
       and o.parked_at is null and (o.next_attempt_at is null or o.next_attempt_at <= now())
       and not exists (select from eventing.outbox held
         where held.topic = o.topic and held.ordering_key = o.ordering_key and held.position < o.position
           and (held.parked_at is not null or held.next_attempt_at is not null)
           and (held.parked_at is not null or held.next_attempt_at > now()))
     order by o.position limit ${BATCH_OF_PARTITION}) candidate
  order by candidate.position limit ${BATCH}
), sized as (
  select position, sum(bytes) over (order by position) - bytes as before from due
)
select o.id, o.ordering_key as "orderingKey", o.partition::int, o.envelope::text as event
from sized join eventing.outbox o using (position) where sized.before < ${BATCH_BYTES} order by o.position`;

/**
 * Messages of one topic that may be relayed, in the order of their keys.
 * @param partitions only of these, and of these only what the lease covers
 * @param except messages that are relayed already and could not be marked yet
 */
export async function claimBatch(
  lease: Lease,
  { topic, partitions, except }: { topic: string; partitions: readonly number[]; except: Iterable<string> },
): Promise<{ batch: Message[]; hasMore: boolean }> {
  const batch = await lease.query<Message>(claim(lease), [topic, partitions, [...except]]);
  return { batch, hasMore: batch.length >= BATCH_OF_PARTITION };
}

// Rows are locked in the order of their ids, as the recorder does. It never waits: a row that somebody has locked is one that the recorder
// is about to delete because it came back, and nobody else's messages shall wait until it has.
const mark = (lease: Lease) => `
with owned as materialized (${lease.owned}), locked as materialized (
  select id from eventing.outbox where id = any ($1::uuid[]) order by id for update skip locked
), gone as (
  delete from eventing.outbox o using locked where o.id = locked.id returning o.*
), moved as (
  insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
  select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at,
    clock_timestamp() + make_interval(secs => $2) from gone
)
select array(select partition from owned) as partitions,
  array(select o.id from eventing.outbox o where o.id = any ($1::uuid[]) and o.id not in (select id from locked)) as locked`;

/**
 * Marks messages as relayed.
 * @returns those that could not be marked because they are locked, and the partitions whose lease we still have
 */
export async function markRelayed(
  lease: Lease,
  ids: Iterable<string>,
  resendAfterSeconds: number,
): Promise<{ locked: string[]; partitions: number[] }> {
  type Row = { locked: string[]; partitions: number[] };
  const [row] = await lease.query<Row>(mark(lease), [[...ids], resendAfterSeconds]);
  return row!;
}

export interface Failure {
  readonly id: string;
  readonly error: string;
  /** Whether it spends an attempt. */
  readonly counts: boolean;
}

/**
 * Attempts until a message is parked, and the seconds before the first try again, four times as long at each: 1 s, 4 s, 16 s, 64 s,
 * 256 s. So long because part of a broker may be down for minutes, as when the leader of one of Kafka's partitions is.
 */
export interface Patience {
  readonly attempts: number;
  readonly firstRetrySeconds: number;
}

export const PATIENCE: Patience = { attempts: 5, firstRetrySeconds: 1 };

const FAIL = `
with failure as (
  select * from unnest($1::uuid[], $2::text[], $3::boolean[]) as f(id, error, counts)
), locked as (
  select o.id, o.attempts + failure.counts::int as attempts, failure.error
  from eventing.outbox o join failure using (id) order by o.id for update of o skip locked
)
update eventing.outbox o set attempts = locked.attempts, last_error = locked.error,
  next_attempt_at = case when locked.attempts < $4
    then clock_timestamp() + make_interval(secs => $5 * 4 ^ locked.attempts * (0.75 + random() / 2)) end,
  parked_at = case when locked.attempts >= $4 then clock_timestamp() end
from locked where o.id = locked.id
returning o.id, o.event_id as "eventId", o.attempts, o.last_error as error, o.parked_at is not null as parked`;

export interface Held {
  readonly id: string;
  readonly eventId: string;
  readonly attempts: number;
  readonly error: string;
  readonly parked: boolean;
}

/** Holds messages back, and with each of them its key: until their next attempt, or for good when they have spent their attempts. */
export async function holdBack(lease: Lease, failures: readonly Failure[], patience = PATIENCE): Promise<Held[]> {
  const columns = [
    failures.map(({ id }) => id),
    failures.map(({ error }) => error.replaceAll('\0', '').slice(0, 1000)),
    failures.map(({ counts }) => counts),
  ];
  return await lease.query<Held>(FAIL, [...columns, patience.attempts, patience.firstRetrySeconds]);
}
