import { Client } from 'pg';

/** Rows that a table does not take for a while: the work that writes them fails, and nothing else does. */
export interface Refusal extends AsyncDisposable {
  mend(): Promise<void>;
}

/**
 * @param superuserUrl of the table's database
 * @param options.when which new rows are refused, as SQL about `new`
 */
export async function refuse(
  superuserUrl: string,
  { table, when = 'true' }: { table: string; when?: string },
): Promise<Refusal> {
  const client = new Client({ connectionString: superuserUrl, application_name: 'refusal' });
  await client.connect();
  await client.query(`
    create or replace function public.refuse() returns trigger language plpgsql as
      $$ begin raise exception 'refused by the test'; end $$;
    create trigger refusal before insert on ${table} for each row when (${when}) execute function public.refuse()`);
  const mend = async () => void (await client.query(`drop trigger if exists refusal on ${table}`));
  return {
    mend,
    async [Symbol.asyncDispose]() {
      await mend();
      await client.end();
    },
  };
}
