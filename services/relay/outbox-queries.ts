import type { Lease } from './lease.ts';

// A loose index scan: one index lookup per topic, however many rows there are.
const TOPICS = `
with recursive hop as (
  select min(topic) as topic from eventing.outbox
  union all
  select (select min(topic) from eventing.outbox where topic > hop.topic) from hop where hop.topic is not null
)
select topic from hop where topic is not null`;

/** Returns the topics that have messages in the outbox, in any state. */
export async function topicsWaiting(lease: Pick<Lease, 'query'>): Promise<string[]> {
  return (await lease.query<{ topic: string }>(TOPICS)).map(({ topic }) => topic);
}

// Locks rows in the order of their ids, as the recorder does, and skips locked ones: the recorder is about to delete those, because their
// message is confirmed. Waiting for it would hold up all other messages.
const mark = (lease: Lease) => `
with owned as materialized (${lease.owned}), locked as materialized (
  select id from eventing.outbox where id = any ($1::uuid[]) order by id for update skip locked
), deleted as (
  delete from eventing.outbox o using locked where o.id = locked.id returning o.*
), moved as (
  insert into eventing.relayed (id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at, resend_at)
  select id, event_id, channel, topic, ordering_key, partition, target, envelope, attempts, created_at,
    clock_timestamp() + make_interval(secs => $2) from deleted
)
select array(select partition from owned) as partitions,
  array(
    select o.id from eventing.outbox o
     where o.id = any (array(select given.id from unnest($1::uuid[]) given(id) where given.id not in (select id from locked)))
  ) as locked`;

/**
 * Marks messages as sent: moves them from the outbox to `eventing.relayed`, where they wait for confirmation.
 * @returns the messages that were locked and therefore not marked, and the partitions whose lease this relay still holds
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
  /** Whether the failure spends an attempt. */
  readonly counts: boolean;
}

/**
 * Attempts before a message is parked, and seconds before the first retry. Each delay is four times the one before: 1 s, 4 s, 16 s, 64 s,
 * 256 s. That long because part of a broker may be down for minutes, for example the leader of one Kafka partition.
 */
export interface RetryPolicy {
  readonly attempts: number;
  readonly firstRetrySeconds: number;
}

export const RETRY_POLICY: RetryPolicy = { attempts: 5, firstRetrySeconds: 1 };

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

export interface BackedOff {
  readonly id: string;
  readonly eventId: string;
  readonly attempts: number;
  readonly error: string;
  readonly parked: boolean;
}

/**
 * Holds back messages, each together with its key, until their next attempt; parks those that have spent their attempts.
 * @returns the state of each message; messages that are locked, because they are being confirmed, are skipped
 */
export async function backOff(lease: Lease, failures: readonly Failure[], policy = RETRY_POLICY): Promise<BackedOff[]> {
  const columns = [
    failures.map(({ id }) => id),
    failures.map(({ error }) => error.replaceAll('\0', '').slice(0, 1000)),
    failures.map(({ counts }) => counts),
  ];
  return await lease.query<BackedOff>(FAIL, [...columns, policy.attempts, policy.firstRetrySeconds]);
}
