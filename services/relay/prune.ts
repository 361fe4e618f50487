import type { Client } from 'pg';

/** Rows deleted at once: few enough that nobody waits for their locks, and that a run which is stopped loses little. */
const BATCH = 5_000;

// Along the index, topic by topic.
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
 * Makes the partitions of the event store that the next two years need. Facts are kept for ever.
 * @returns how many were missing
 */
export async function ensurePartitions(client: Client): Promise<number> {
  const { rows } = await client.query<{ made: number }>('select eventing.ensure_partitions() as made');
  return rows[0]!.made;
}

/**
 * Deletes from the log of what came back whatever is older than so many days. The inboxes stay: a fact may be published again at any age.
 * @returns how many rows it deleted
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
