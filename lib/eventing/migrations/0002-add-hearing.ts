import { Migration } from '@mikro-orm/migrations';

/** Adds when each app last received a topic, partition creation without blocking, and an index of heads by aggregate. */
export function addHearing(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(lastReceived.replaceAll('$roles', roles));
      this.addSql(ensurePartitions);
      this.addSql('create index stream_aggregate on eventing.stream (aggregate_id)');
    }
    override down(): void {
      this.addSql('drop table eventing.heard; drop index eventing.stream_aggregate');
    }
  };
}

const lastReceived = `
-- When any replica of an app last received a message of a topic.
create table eventing.heard (
  app_id text not null,
  topic text not null,
  heard_at timestamptz not null default clock_timestamp(),
  primary key (app_id, topic)
);
grant select, insert, update on eventing.heard to $roles_app;
grant select on eventing.heard to $roles_readonly;
`;

// Attaching a partition blocks no writer. Creating one in place waits for every reader, and blocks writers meanwhile.
const ensurePartitions = `
create or replace function eventing.ensure_partitions(months_ahead integer default 24) returns integer
language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  month timestamptz := date_trunc('month', now()) - interval '1 month';
  made integer := 0;
  name text;
begin
  for i in 0 .. months_ahead + 1 loop
    name := 'event_store_' || to_char(month, 'YYYY_MM');
    if to_regclass('eventing.' || name) is null then
      begin
        execute format('create table eventing.%I (like eventing.event_store including all)', name);
        execute format('alter table eventing.event_store attach partition eventing.%I for values from (%L) to (%L)',
          name, eventing.first_id_at(month), eventing.first_id_at(month + interval '1 month'));
        made := made + 1;
      exception
        when check_violation then
          raise warning 'facts of % lie in the default partition already: they stay there', name;
        when invalid_object_definition then
          raise warning '% would overlap another partition: facts of the rest of that month go to the default one', name;
        when lock_not_available then
          raise warning '% cannot be attached while somebody else holds the default partition: tomorrow again', name;
          return made;
      end;
    end if;
    month := month + interval '1 month';
  end loop;
  return made;
end $$;
`;
