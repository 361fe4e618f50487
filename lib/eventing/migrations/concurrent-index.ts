/**
 * Returns the statements that build an index without delaying writes. They cannot run in a transaction. An interrupted build
 * leaves an invalid index, which is built again.
 * @param definition table and columns
 */
export function createIndexConcurrently(name: string, definition: string): string[] {
  return [
    // While it waits for a lock of the table, all others wait behind it: rather fail, and be run again.
    "set lock_timeout = '2s'",
    `do $$ begin
      if exists (select from pg_index where indexrelid = to_regclass('eventing.${name}') and not indisvalid) then
        drop index eventing.${name};
      end if;
    end $$`,
    // A concurrent build waits for every older transaction, and nobody waits for it.
    'set lock_timeout = 0',
    `create index concurrently if not exists ${name} on ${definition}`,
    "set lock_timeout = '10s'",
  ];
}
