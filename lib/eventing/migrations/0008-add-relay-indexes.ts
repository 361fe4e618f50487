import { Migration } from '@mikro-orm/migrations';
import { createIndexConcurrently } from './concurrent-index.ts';

/** Adds the indexes by which the relay finds the messages of one key, and those whose next attempt is due. */
export function addRelayIndexes() {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      for (const [name, definition] of Object.entries(INDEXES))
        for (const statement of createIndexConcurrently(name, definition)) this.addSql(statement);
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
