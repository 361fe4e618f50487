import { Client } from 'pg';

/** A table that rejects some new rows: transactions that write them fail, and no others. */
export interface FailingTable extends AsyncDisposable {
  repair(): Promise<void>;
}

/**
 * Makes inserts into a table fail.
 * @param superuserUrl of the table's database
 * @param options.when which new rows are rejected, as SQL about `new` (default: all)
 */
export async function failInserts(
  superuserUrl: string,
  { table, when = 'true' }: { table: string; when?: string },
): Promise<FailingTable> {
  const client = new Client({ connectionString: superuserUrl, application_name: 'failing-table' });
  await client.connect();
  await client.query(`
    create or replace function public.refuse() returns trigger language plpgsql as
      $$ begin raise exception 'refused by the test'; end $$;
    create trigger refusal before insert on ${table} for each row when (${when}) execute function public.refuse()`);
  const repair = async () => void (await client.query(`drop trigger if exists refusal on ${table}`));
  return {
    repair,
    async [Symbol.asyncDispose]() {
      await repair();
      await client.end();
    },
  };
}
