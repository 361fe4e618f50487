/**
 * Returns the statements that build an index without delaying writes. They cannot run in a transaction. An interrupted build
 * leaves an invalid index, which is built again.
 */
export function createIndexConcurrently(name: string, definition: string): string[] {
  return [
    `do $$ begin
      if exists (select from pg_index where indexrelid = to_regclass('eventing.${name}') and not indisvalid) then
        drop index eventing.${name};
      end if;
    end $$`,
    `create index concurrently if not exists ${name} on ${definition}`,
  ];
}

/** A concurrent build waits for every older transaction, and nobody waits for it. */
export const WAIT_FOR_TRANSACTIONS = 'set lock_timeout = 0';
export const WAIT_AS_USUAL = "set lock_timeout = '10s'";
