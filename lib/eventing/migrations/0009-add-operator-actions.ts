import { Migration } from '@mikro-orm/migrations';
import { createIndexConcurrently, WAIT_AS_USUAL, WAIT_FOR_TRANSACTIONS } from './concurrent-index.ts';

/** Adds what operators did, and the indexes by which they find deferred deliveries of a state and parked messages. */
export function addOperatorActions(roles: string) {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      this.addSql(actions.replaceAll('$roles', roles));
      this.addSql(WAIT_FOR_TRANSACTIONS);
      for (const [name, definition] of Object.entries(INDEXES))
        for (const statement of createIndexConcurrently(name, definition)) this.addSql(statement);
      this.addSql(WAIT_AS_USUAL);
    }
    override down(): void {
      for (const name of Object.keys(INDEXES)) this.addSql(`drop index concurrently if exists eventing.${name}`);
      this.addSql('drop table eventing.operator_action');
    }
  };
}

const INDEXES = {
  kept_delivery_state: 'eventing.kept_delivery (state, received_at)',
  outbox_parked: 'eventing.outbox (position) where parked_at is not null',
};

// Not in one transaction: what an interrupted migration has created is there already.
const actions = `
create table if not exists eventing.operator_action (
  id uuid primary key,
  at timestamptz not null default clock_timestamp(),
  requested_by text not null,
  action text not null,
  subject jsonb not null,
  reason text
);
grant select, insert on eventing.operator_action to $roles_app;
grant select on eventing.operator_action to $roles_readonly`;
