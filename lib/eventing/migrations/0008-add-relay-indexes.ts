import { Migration } from '@mikro-orm/migrations';
import { createIndexConcurrently, WAIT_AS_USUAL, WAIT_FOR_TRANSACTIONS } from './concurrent-index.ts';

/** Adds the indexes by which the relay finds the messages of one key, and those whose next attempt is due. */
export function addRelayIndexes() {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      this.addSql(WAIT_FOR_TRANSACTIONS);
      for (const [name, definition] of Object.entries(INDEXES))
        for (const statement of createIndexConcurrently(name, definition)) this.addSql(statement);
      this.addSql(WAIT_AS_USUAL);
    }
    override down(): void {
      for (const name of Object.keys(INDEXES)) this.addSql(`drop index concurrently if exists eventing.${name}`);
    }
  };
}

const INDEXES = {
  outbox_key: 'eventing.outbox (topic, ordering_key, position)',
  outbox_due: 'eventing.outbox (topic, next_attempt_at) where next_attempt_at is not null',
};
