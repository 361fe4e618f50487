import { type Restored, type RestoreOptions, restore } from '#eventing/restore';
import type { TestDatabase } from './database.ts';

type Query = (sql: string) => Promise<{ rows: Record<string, string | null>[] }>;

/**
 * Takes a snapshot of a database's contents, as a backup would.
 * @param query runs SQL on a superuser's connection that nothing else uses meanwhile
 * @returns a function that restores the contents; call it while no other session is connected
 */
export async function snapshot(query: Query): Promise<() => Promise<void>> {
  await query('begin isolation level repeatable read');
  const { rows: tables } = await query(TABLES);
  await query('drop schema if exists snapshot cascade; create schema snapshot');
  for (const { name, copy, columns } of tables) await query(`create table ${copy} as select ${columns} from ${name}`);
  const { rows: sequences } = await query(SEQUENCES);
  await query('commit');
  return async () => {
    await query(`begin; set local session_replication_role = replica`);
    await query(`truncate ${tables.map(({ name }) => name).join(', ')}`);
    for (const { name, copy, columns } of tables)
      await query(`insert into ${name} (${columns}) overriding system value select ${columns} from ${copy}`);
    for (const { name, last } of sequences)
      await query(last === null ? `alter sequence ${name} restart` : `select setval('${name}', ${last})`);
    await query('drop schema snapshot cascade; commit');
  };
}

/**
 * Restores a test's database to its state before `happens`, then the lost events from its outbox messages, as from a topic.
 * @param andThen runs on the restored database before its events are restored
 */
export async function restoredToBefore(
  { database, ...options }: Omit<RestoreOptions, 'topic' | 'log'> & { database: TestDatabase },
  happens: () => Promise<unknown>,
  andThen: () => Promise<unknown> = async () => undefined,
): Promise<Restored> {
  const restoreDatabase = await snapshotOf(database);
  await happens();
  const topic = await database.sql<{ envelope: object }>('select envelope from eventing.outbox order by position');
  await restoreDatabase();
  await andThen();
  async function* messages() {
    for (const { envelope } of topic) yield JSON.stringify(envelope);
  }
  const log = { info: () => undefined, warn: () => undefined };
  return restore({ ...options, topic: { since: new Date(0), messages: messages() }, log });
}

/** Takes a snapshot of a test's database; see `snapshot`. */
export function snapshotOf(database: TestDatabase): Promise<() => Promise<void>> {
  return snapshot(async (text) => ({ rows: await database.sql(text) }));
}

const TABLES = `
select format('%I.%I', n.nspname, c.relname) as name, format('snapshot.%I', n.nspname || '_' || c.relname) as copy,
    string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
 where c.relkind = 'r' and n.nspname in ('public', 'eventing') group by 1, 2 order by 1`;

const SEQUENCES = `
select format('%I.%I', schemaname, sequencename) as name, last_value::text as last from pg_sequences
 where schemaname in ('public', 'eventing')`;
