import { Migration } from '@mikro-orm/migrations';
import { createIndexConcurrently } from './concurrent-index.ts';

/** Adds what operators did, events that never arrived, and indexes by which operators find deferred deliveries and parked messages. */
export function addOperatorActions(roles: string) {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      this.addSql(actions.replaceAll('$roles', roles));
      for (const [name, definition] of Object.entries(INDEXES))
        for (const statement of createIndexConcurrently(name, definition)) this.addSql(statement);
    }
    override down(): void {
      for (const name of Object.keys(INDEXES)) this.addSql(`drop index concurrently if exists eventing.${name}`);
      this.addSql('drop table eventing.operator_action, eventing.missing_event');
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
create table if not exists eventing.missing_event (
  app_id text not null,
  topic text not null,
  event_id uuid not null,
  event_type text not null,
  aggregate_id text not null,
  sequence bigint not null,
  abandoned_at timestamptz not null default clock_timestamp(),
  primary key (app_id, topic, event_id)
);
grant select, insert on eventing.operator_action to $roles_app;
grant select, insert, delete on eventing.missing_event to $roles_app;
grant select on eventing.operator_action, eventing.missing_event to $roles_readonly`;
