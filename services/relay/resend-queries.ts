import type { Lease } from './lease.ts';
import type { Message } from './message.ts';

const TOPICS = `
with recursive hop as (
  select min(topic) as topic from eventing.relayed
  union all
  select (select min(topic) from eventing.relayed where topic > hop.topic) from hop where hop.topic is not null
)
select topic, exists (
  select from eventing.published back where back.topic = hop.topic and back.published_at > now() - make_interval(secs => $1)
) as "isConfirming" from hop where topic is not null`;

/** Returns the topics with unconfirmed messages, and whether any message of each was confirmed within the last `seconds`. */
export async function unconfirmedTopics(
  lease: Lease,
  seconds: number,
): Promise<{ topic: string; isConfirming: boolean }[]> {
  return await lease.query(TOPICS, [seconds]);
}

const due = (lease: Lease) => `
with owned as materialized (${lease.owned})
select missing.* from owned join unnest($2::int[]) wanted(partition) using (partition)
cross join lateral (
  select r.id, r.ordering_key as "orderingKey", r.partition::int, r.envelope::text as event, r.resend_at
  from eventing.relayed r where r.topic = $1 and r.partition = owned.partition and r.resend_at <= now()
  order by r.resend_at limit $3) missing
order by missing.resend_at limit $4`;

/** Returns unconfirmed messages that are due, longest overdue first: at most `ofPartition` of each partition and `limit` in total. */
export async function claimUnconfirmed(
  lease: Lease,
  wanted: { topic: string; partitions: readonly number[]; ofPartition: number; limit: number },
): Promise<Message[]> {
  return await lease.query(due(lease), [wanted.topic, wanted.partitions, wanted.ofPartition, wanted.limit]);
}

// A message that was confirmed meanwhile has no row here any more: nothing to postpone.
const POSTPONE = `
with tried as (
  select r.id, r.sends + sent.accepted::int as sends
  from eventing.relayed r join unnest($1::uuid[], $2::boolean[]) as sent(id, accepted) using (id) order by r.id for update of r
)
update eventing.relayed r set sends = tried.sends,
  resend_at = clock_timestamp() + make_interval(secs => least($3 * 2 ^ least(tried.sends - 1, 20), 3600))
from tried where r.id = tried.id`;

/** Counts accepted repeats and sets when each message is due next: after `seconds`, doubled with each accepted send, at most an hour. */
export async function postpone(
  lease: Lease,
  messages: readonly Message[],
  accepted: ReadonlySet<string>,
  seconds: number,
): Promise<void> {
  const ids = messages.map(({ id }) => id);
  await lease.query(POSTPONE, [ids, ids.map((id) => accepted.has(id)), seconds]);
}
