import { Migration } from '@mikro-orm/migrations';

/** Adds each app's reconcile position: how far it has compared a topic with what was published there. */
export function addRepair(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(reconcilePosition.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop table eventing.compared');
    }
  };
}

const reconcilePosition = `
create table eventing.compared (
  app_id text not null,
  topic text not null,
  message_id uuid,                           -- the one received last
  position text,                             -- among the published messages, as the publisher names it
  primary key (app_id, topic)
);
grant select, insert, update on eventing.compared to $roles_app;
grant select on eventing.compared to $roles_readonly;
`;
