import { Client } from 'pg';
import { eventually } from '../support/eventually.ts';

/** Where transactions of a database wait until they are let through: so that a process can be killed at that very point. */
export interface Gate extends AsyncDisposable {
  /** Waits until a transaction stands before it. @returns how many do */
  reached(): Promise<number>;
  /** Ends the connections of those that wait: their transactions roll back. */
  turnAway(): Promise<void>;
  /** Lets those through that wait, and all that come. */
  open(): Promise<void>;
}

const KEY = 815;

/**
 * Puts a gate into a database.
 * @param superuserUrl of that database
 * @param options.table before whose new rows transactions wait
 * @param options.at `statement` when they are written, `commit` when everything is written and not committed yet
 * @param options.when of which rows, as SQL about `new`
 */
export async function closeGate(
  superuserUrl: string,
  { table, at, when = 'true' }: { table: string; at: 'statement' | 'commit'; when?: string },
): Promise<Gate> {
  const client = new Client({ connectionString: superuserUrl, application_name: 'gate' });
  await client.connect();
  await client.query(`
    create or replace function public.wait_at_gate() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock_shared(${KEY}); return null; end $$;
    create constraint trigger gate after insert on ${table}
      ${at === 'commit' ? 'deferrable initially deferred' : 'not deferrable'}
      for each row when (${when}) execute function public.wait_at_gate()`);
  await client.query('select pg_advisory_lock($1)', [KEY]);
  const waiting = `select pid from pg_locks where locktype = 'advisory' and objid = ${KEY} and not granted`;
  const open = async () => {
    await client.query('select pg_advisory_unlock_all()');
    await client.query(`drop trigger if exists gate on ${table}`);
  };
  return {
    reached: () =>
      // A message that a killed process had in its hands before comes again only after the broker's patience has ended.
      eventually(
        async () => {
          const { rowCount } = await client.query(waiting);
          expect(rowCount).toBeGreaterThan(0);
          return rowCount!;
        },
        { timeoutMs: 40_000 },
      ),
    async turnAway() {
      await client.query(`select pg_terminate_backend(pid) from (${waiting}) as w`);
    },
    open,
    async [Symbol.asyncDispose]() {
      await open();
      await client.end();
    },
  };
}
