import { Migration } from '@mikro-orm/migrations';

/**
 * Adds the indexes by which the relay finds the messages of one key, and those whose next attempt is due. Built
 * concurrently: the outbox may be large, and writes must not wait. An interrupted build leaves an invalid index, which is
 * built again.
 */
export function addRelayIndexes() {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      // A concurrent build waits for every older transaction, and nobody waits for it.
      this.addSql('set lock_timeout = 0');
      for (const [name, columns] of Object.entries(INDEXES)) {
        this.addSql(dropInvalid(name));
        this.addSql(`create index concurrently if not exists ${name} on eventing.outbox ${columns}`);
      }
      this.addSql("set lock_timeout = '10s'");
    }
    override down(): void {
      for (const name of Object.keys(INDEXES)) this.addSql(`drop index concurrently if exists eventing.${name}`);
    }
  };
}

const INDEXES = {
  outbox_key: '(topic, ordering_key, position)',
  outbox_due: '(topic, next_attempt_at) where next_attempt_at is not null',
};

const dropInvalid = (name: string): string => `
do $$ begin
  if exists (select from pg_index where indexrelid = to_regclass('eventing.${name}') and not indisvalid) then
    drop index eventing.${name};
  end if;
end $$`;
