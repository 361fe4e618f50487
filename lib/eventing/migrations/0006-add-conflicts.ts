import { Migration } from '@mikro-orm/migrations';

/** Adds which event an ordered consumer applied at each sequence, and the topic of a deferred delivery. */
export function addConflicts(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(conflicts.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop table eventing.applied; alter table eventing.kept_delivery drop column topic');
    }
  };
}

const conflicts = `
-- Of other systems' events, whose event store cannot be asked. Kept for as long as the log of what was published.
create table eventing.applied (
  consumer text not null,
  stream text not null,
  aggregate_id text not null,
  sequence bigint not null,
  event_id uuid not null,
  event_type text not null,
  applied_at timestamptz not null default clock_timestamp(),
  primary key (consumer, stream, aggregate_id, sequence)
);
create index applied_age on eventing.applied (applied_at);
grant select, insert on eventing.applied to $roles_app;
grant select, delete on eventing.applied to $roles_housekeeping;
grant select on eventing.applied to $roles_readonly;

alter table eventing.kept_delivery add column topic text;
grant select (topic) on eventing.kept_delivery to $roles_readonly;
`;
