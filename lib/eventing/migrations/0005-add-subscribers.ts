import { Migration } from '@mikro-orm/migrations';

/** Adds what operators see of subscribers: since when they are stalled, and the reports of their sidecars. */
export function addSubscribers(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(subscribers.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop table eventing.sidecar; alter table eventing.heard drop column missed_since');
    }
  };
}

const subscribers = `
alter table eventing.heard add column missed_since timestamptz;   -- something was published then or before, and nothing heard since

create table eventing.sidecar (
  app_id text not null,
  replica text not null,                     -- host (the pod) and port
  report jsonb not null,
  reported_at timestamptz not null default clock_timestamp(),
  primary key (app_id, replica)
);
grant select, insert, update, delete on eventing.sidecar to $roles_app;
grant select on eventing.sidecar to $roles_readonly;
`;
