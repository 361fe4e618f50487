import type { Client } from 'pg';

/** Rows per delete: few, so that locks are short and an interrupted run loses little work. */
const BATCH = 5_000;

/**
 * Creates future partitions: of the event store for two years, of the inboxes and the confirmed messages for three months.
 * @returns the number of created partitions
 */
export async function ensurePartitions(client: Client): Promise<number> {
  const { rows } = await client.query<{ made: number }>('select eventing.ensure_partitions() as made');
  return rows[0]!.made;
}

/**
 * Drops the partitions of inboxes and confirmed messages that are older than `days`, each in a transaction of its own. Events are never deleted.
 * @returns the names of the dropped partitions
 */
export async function dropOld(client: Client, days: number): Promise<string[]> {
  for (const dropped: string[] = []; ; ) {
    const { rows } = await client.query<{ name: string | null }>('select eventing.drop_oldest($1) as name', [days]);
    const { name } = rows[0]!;
    if (name === null) return dropped;
    dropped.push(name);
  }
}

/** Otherwise the planner reads the whole table for each batch. Only for one transaction, because a pooler may share the session. */
const BY_INDEX = `
begin; set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off`;

const batchOf = (table: string, key: string, condition: string, order: string) => `
delete from eventing.${table} where (${key}) in (
  select ${key} from eventing.${table} old where ${condition} order by ${order} limit ${BATCH})`;

const AGE = 'now() - make_interval(days => $1)';
/** Events that a convergent consumer would refuse, because they are older than its inbox reaches. */
const IS_TOO_OLD = `event_id < (select first_id from eventing.horizon where name = 'inbox')`;

/** What is deleted row by row, by table, after `$1` days. */
const OLD_ROWS = {
  /** What was handled long after the event, and what came while no partition was there. */
  inbox_default: batchOf('inbox_default', 'consumer, event_id', `handled_at < ${AGE} and ${IS_TOO_OLD}`, 'handled_at'),
  published_default: batchOf('published_default', 'id', `published_at < ${AGE}`, 'published_at'),
  /** Other systems' events: afterwards a redelivery counts as a duplicate without a comparison of ids. */
  applied: batchOf('applied', 'consumer, stream, aggregate_id, sequence', `applied_at < ${AGE}`, 'applied_at'),
  /**
   * Discarded deliveries, once a redelivery of the event would have no effect: an ordered consumer has passed it, or a convergent one would
   * find it too old, or its body was refused.
   */
  kept_delivery: batchOf(
    'kept_delivery',
    'consumer, event_id',
    `state = 'discarded' and received_at < ${AGE} and (stream is null or ${IS_TOO_OLD})
     and not exists (select from eventing.cursor c
       where (c.consumer, c.stream, c.aggregate_id) = (old.consumer, old.stream, old.aggregate_id) and c.last_sequence < old.sequence)`,
    'received_at',
  ),
  /** Events that never arrived: they can no longer be published again. */
  missing_event: batchOf('missing_event', 'app_id, topic, event_id', `abandoned_at < ${AGE}`, 'abandoned_at'),
} as const;

type Table = keyof typeof OLD_ROWS;
export const TABLES = Object.keys(OLD_ROWS) as Table[];

/**
 * Deletes rows that are older than `days`.
 * @returns the number of deleted rows
 */
export async function deleteOld(client: Client, table: Table, days: number): Promise<number> {
  let deleted = 0;
  for (let batch = BATCH; batch === BATCH; deleted += batch) {
    await client.query(BY_INDEX);
    batch = (await client.query(OLD_ROWS[table], [days])).rowCount ?? 0;
    await client.query('commit');
  }
  return deleted;
}

/**
 * Returns whether the schema has partitions to drop. The last release's lacks them, and this release must work on it
 * (docs/decisions/0015). Remove in the next release.
 */
export async function hasRetention(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ isThere: boolean }>(
    `select to_regprocedure('eventing.drop_oldest(integer)') is not null as "isThere"`,
  );
  return rows[0]!.isThere;
}
