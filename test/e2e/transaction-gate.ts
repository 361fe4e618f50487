import { randomInt } from 'node:crypto';
import { Client } from 'pg';
import { eventually } from '../support/eventually.ts';

/** Blocks transactions of a database at a defined point, so that a process can be killed there. */
export interface TransactionGate extends AsyncDisposable {
  /** Waits until a transaction is blocked. @returns the number of blocked transactions */
  waitUntilReached(): Promise<number>;
  /** Terminates the connections of the blocked transactions, which rolls them back. */
  terminateBlocked(): Promise<void>;
  /** Lets blocked and later transactions continue. */
  open(): Promise<void>;
}

/**
 * Installs a closed gate in an idle database. The open gate stays there after the test: dropping it would lock all
 * partitions of a table in another order than queries do, and PostgreSQL would abort one of them ("deadlock detected").
 * @param superuserUrl of that database
 * @param options.table whose new rows block their transactions
 * @param options.at `statement`: blocks when a row is written; `commit`: when everything is written but not committed
 * @param options.when which rows, as SQL about `new` (default: all)
 */
export async function closeTransactionGate(
  superuserUrl: string,
  { table, at, when = 'true' }: { table: string; at: 'statement' | 'commit'; when?: string },
): Promise<TransactionGate> {
  await using stack = new AsyncDisposableStack();
  const client = new Client({ connectionString: superuserUrl, application_name: 'gate' });
  await client.connect();
  stack.defer(() => client.end());
  const key = randomInt(2 ** 31);
  await client.query(`
    create or replace function public.wait_at_gate() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock_shared(tg_argv[0]::int); return null; end $$;
    create constraint trigger gate_${key} after insert on ${table}
      ${at === 'commit' ? 'deferrable initially deferred' : 'not deferrable'}
      for each row when (${when}) execute function public.wait_at_gate(${key})`);
  await client.query('select pg_advisory_lock($1)', [key]);
  const waiting = `select pid from pg_locks where locktype = 'advisory' and objid = ${key} and not granted`;
  const held = stack.move();
  return {
    waitUntilReached: () =>
      // The broker repeats a killed process's delivery only after the acknowledgement timeout.
      eventually(async () => {
        const { rowCount } = await client.query(waiting);
        expect(rowCount).toBeGreaterThan(0);
        return rowCount!;
      }),
    async terminateBlocked() {
      await client.query(`select pg_terminate_backend(pid) from (${waiting}) as w`);
    },
    async open() {
      await client.query('select pg_advisory_unlock_all()');
    },
    // Closing the connection releases the lock.
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
