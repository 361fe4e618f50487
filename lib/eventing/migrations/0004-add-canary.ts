import { Migration } from '@mikro-orm/migrations';
import { CANARY_ID } from '../diagnostics/canary.ts';

/** Adds the row that each canary changes. */
export function addCanary(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(canary.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop table eventing.canary');
    }
  };
}

const canary = `
create table eventing.canary (
  id uuid primary key,
  sent_at timestamptz not null
);
insert into eventing.canary values ('${CANARY_ID}', now());
grant select, update on eventing.canary to $roles_app;
grant select on eventing.canary to $roles_readonly;
`;
