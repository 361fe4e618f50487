import { type Restored, type RestoreOptions, restore } from '#eventing/restore';
import type { TestDatabase } from './database.ts';

type Query = (sql: string) => Promise<{ rows: Record<string, string | null>[] }>;

/**
 * Remembers all that a database holds, as a backup of this moment would.
 * @param query on a connection of a superuser, which nothing else uses meanwhile
 * @returns what makes the database what it was; to be called while nobody is connected to it
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
 * The database of a test as it was before something happened, put right by what its outbox then had, as a topic would have it.
 * @param andThen happens to the restored database before that
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

/** Remembers a test's database; see `snapshot`. */
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
