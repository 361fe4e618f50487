import type { Client } from 'pg';

/** Rows per delete: few, so that locks are short and an interrupted run loses little work. */
const BATCH = 5_000;

// A loose index scan: reads one row per topic.
const TOPICS = `
with recursive hop as (
  select min(topic) as topic from eventing.published
  union all
  select (select min(topic) from eventing.published where topic > hop.topic) from hop where hop.topic is not null
)
select topic from hop where topic is not null`;

const PRUNE = `
delete from eventing.published where id in (
  select id from eventing.published where topic = $1 and published_at < now() - make_interval(days => $2) order by published_at limit ${BATCH}
)`;

/**
 * Creates the event store's partitions for the next two years. Events are never deleted.
 * @returns the number of created partitions
 */
export async function ensurePartitions(client: Client): Promise<number> {
  const { rows } = await client.query<{ made: number }>('select eventing.ensure_partitions() as made');
  return rows[0]!.made;
}

/**
 * Deletes confirmed messages that are older than `days`. The inboxes stay: an event of any age may be republished.
 * @returns the number of deleted rows
 */
export async function prunePublished(client: Client, days: number): Promise<number> {
  let deleted = 0;
  const { rows } = await client.query<{ topic: string }>(TOPICS);
  for (const { topic } of rows) {
    for (let batch = BATCH; batch === BATCH; deleted += batch) {
      batch = (await client.query(PRUNE, [topic, days])).rowCount ?? 0;
    }
  }
  return deleted;
}

const PRUNE_APPLIED = `
delete from eventing.applied where ctid = any (array(
  select ctid from eventing.applied where applied_at < now() - make_interval(days => $1) order by applied_at limit ${BATCH}))`;

/**
 * Deletes the ids of other systems' events that ordered consumers applied more than `days` ago. A redelivery
 * of such an event counts as a duplicate without a comparison of ids.
 * @returns the number of deleted rows
 */
export async function pruneApplied(client: Client, days: number): Promise<number> {
  // Release 0.1's schema lacks this table, and this release must work on it (docs/decisions/0015). Remove in the next
  // release.
  const { rows } = await client.query<{ isThere: boolean }>(
    `select to_regclass('eventing.applied') is not null as "isThere"`,
  );
  if (!rows[0]!.isThere) return 0;
  let deleted = 0;
  for (let batch = BATCH; batch === BATCH; deleted += batch)
    batch = (await client.query(PRUNE_APPLIED, [days])).rowCount ?? 0;
  return deleted;
}
