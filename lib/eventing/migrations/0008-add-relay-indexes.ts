import { Migration } from '@mikro-orm/migrations';

/**
 * Adds the indexes by which the relay finds the messages of one key, and those whose next attempt is due. Built
 * concurrently: the outbox may be large, and writes must not wait. An interrupted build leaves an invalid index, so each
 * is dropped first.
 */
export function addRelayIndexes() {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      for (const [name, columns] of Object.entries(INDEXES)) {
        this.addSql(`drop index concurrently if exists eventing.${name}`);
        this.addSql(`create index concurrently ${name} on eventing.outbox ${columns}`);
      }
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
