import { Migration } from '@mikro-orm/migrations';

/** How far each app has compared a topic with what was published there. */
export function addRepair(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(compared.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop table eventing.compared');
    }
  };
}

const compared = `
create table eventing.compared (
  app_id text not null,
  topic text not null,
  message_id uuid,                           -- the one that was heard last
  position text,                             -- in what was published; in the words of its publisher
  primary key (app_id, topic)
);
grant select, insert, update on eventing.compared to $roles_app;
grant select on eventing.compared to $roles_readonly;
`;
