import { Migration } from '@mikro-orm/migrations';
import { createIndexConcurrently } from './concurrent-index.ts';

/**
 * Partitions the inboxes and the confirmed messages by month, so that old ones are dropped instead of deleted row by row. The present
 * tables become the first partitions: no row is copied, and no lock lasts longer than a rename (docs/decisions/0032).
 */
export function partitionInboxAndPublished(roles: string) {
  return class extends Migration {
    override isTransactional(): boolean {
      return false;
    }
    override up(): void {
      // While a statement waits for a lock of a table, all others wait behind it: rather fail, and be run again.
      this.addSql("set lock_timeout = '2s'");
      this.addSql(horizon.replaceAll('$roles', roles));
      for (const table of TABLES) for (const statement of partition(table, roles)) this.addSql(statement);
      this.addSql(ensurePartitions);
      this.addSql(dropOldest.replaceAll('$roles', roles));
      // They hold late rows and those of a forgotten housekeeping, which are deleted by age.
      for (const [table, column] of Object.entries(AGES))
        for (const statement of createIndexConcurrently(
          `${table}_default_age`,
          `eventing.${table}_default (${column})`,
        ))
          this.addSql(statement);
      this.addSql('select eventing.ensure_partitions()');
      this.addSql("set lock_timeout = '10s'");
    }
  };
}

// Not in one transaction: what an interrupted migration has created is there already.
const horizon = `
-- The lowest event id of which a missing inbox row means that the event was not applied.
create table if not exists eventing.horizon (
  name text primary key,
  first_id uuid not null
);
insert into eventing.horizon values ('inbox', '00000000-0000-0000-0000-000000000000') on conflict do nothing;
grant select on eventing.horizon to $roles_app, $roles_housekeeping, $roles_readonly`;

/** By table: when a row was written. */
const AGES = { inbox: 'handled_at', published: 'published_at' };

interface Table {
  readonly name: string;
  /** A UUIDv7, so that partitions by it are partitions by time. */
  readonly key: string;
  readonly primaryKey: string;
  readonly indexes: Readonly<Record<string, string>>;
  readonly grants: string;
}

const TABLES: readonly Table[] = [
  {
    name: 'inbox',
    key: 'event_id',
    primaryKey: 'consumer, event_id',
    indexes: { inbox_event: 'event_id' },
    grants: `grant select, insert on eventing.inbox to $roles_app; grant select on eventing.inbox to $roles_readonly;
      grant select (consumer, event_id, handled_at), delete on eventing.inbox_default to $roles_housekeeping`,
  },
  {
    name: 'published',
    key: 'id',
    primaryKey: 'id',
    indexes: { published_event: 'event_id', published_recent: 'topic, published_at' },
    grants: `grant select, insert on eventing.published to $roles_app; grant select on eventing.published to $roles_relay, $roles_readonly;
      grant select, delete on eventing.published, eventing.published_default to $roles_housekeeping`,
  },
];

/** Statements that turn a table into a partitioned one; nothing if it is one. */
function partition({ name, key, primaryKey, indexes, grants }: Table, roles: string): string[] {
  const ifPlain = (text: string) => `do $$
    declare
      bound constant uuid := eventing.first_id_at((date_trunc('month', now() at time zone 'UTC') + interval '2 months') at time zone 'UTC');
      constraint_bound constant text := (select substring(pg_get_constraintdef(oid) from '''([0-9a-f-]{36})''') from pg_constraint
        where conrelid = 'eventing.${name}'::regclass and conname = '${name}_bound');
      index text;
    begin
      if (select relkind from pg_class where oid = 'eventing.${name}'::regclass) <> 'r' then return; end if;
      ${text}
    end $$`;
  return [
    // Ids beyond the bound are not of this system, and are refused from now on. Deleted before the lock, and again under it.
    ifPlain(`
      delete from eventing.${name} where ${key} >= bound;`),
    // With a valid constraint, attaching the table reads no row. A run that was interrupted long ago has left an earlier bound.
    ifPlain(`
      alter table eventing.${name} drop constraint if exists ${name}_bound;
      delete from eventing.${name} where ${key} >= bound;
      execute format('alter table eventing.${name} add constraint ${name}_bound check (${key} < %L) not valid', bound);`),
    ifPlain(`
      alter table eventing.${name} validate constraint ${name}_bound;`),
    ifPlain(`
      lock table eventing.${name} in access exclusive mode;
      for index in select relname from pg_index join pg_class on oid = indexrelid where indrelid = 'eventing.${name}'::regclass loop
        execute format('alter index eventing.%I rename to %I', index, replace(index, '${name}_', '${name}_first_'));
      end loop;
      alter table eventing.${name} rename to ${name}_first;
      create table eventing.${name} (like eventing.${name}_first including defaults, primary key (${primaryKey})) partition by range (${key});
      ${Object.entries(indexes)
        .map(([index, columns]) => `create index ${index} on eventing.${name} (${columns});`)
        .join('\n      ')}
      execute format('alter table eventing.${name} attach partition eventing.${name}_first for values from (minvalue) to (%L)', constraint_bound);
      create table eventing.${name}_default partition of eventing.${name} default;
      ${grants.replaceAll('$roles', roles)};
      ${name === 'published' ? delivery : ''}`),
  ];
}

// It names the table by its identity, not by its name.
const delivery = `
      create or replace view eventing.delivery as
        select id, event_id, channel, topic, target, created_at, null::timestamptz as relayed_at, null::timestamptz as published_at, attempts, last_error
          from eventing.outbox
        union all
        select id, event_id, channel, topic, target, created_at, relayed_at, null, attempts, null from eventing.relayed
        union all
        select id, event_id, channel, topic, target, created_at, relayed_at, published_at, attempts, null from eventing.published;`;

// Attaching a partition blocks no writer. Creating one in place waits for every reader, and blocks writers meanwhile.
const ensurePartitions = `
create or replace function eventing.ensure_partitions(months_ahead integer default 24) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  this_month constant timestamptz := date_trunc('month', now());
  month timestamptz;
  made integer := 0;
  name text;
  parent text;
begin
  foreach parent in array array['event_store', 'inbox', 'published'] loop
    -- Statements plan for every partition of the other two: three months are enough for a housekeeping that fails for weeks.
    -- Their rows of last month have a partition already, and it may have been dropped.
    for i in case parent when 'event_store' then -1 else 0 end .. case parent when 'event_store' then months_ahead else least(months_ahead, 3) end loop
      month := this_month + make_interval(months => i);
      name := parent || '_' || to_char(month, 'YYYY_MM');
      continue when to_regclass('eventing.' || name) is not null;
      begin
        execute format('create table eventing.%I (like eventing.%I including all)', name, parent);
        execute format('alter table eventing.%I attach partition eventing.%I for values from (%L) to (%L)',
          parent, name, eventing.first_id_at(month), eventing.first_id_at(month + interval '1 month'));
        made := made + 1;
      exception
        when check_violation then
          raise warning 'rows of % are in the default partition already: they stay there', name;
        when invalid_object_definition then
          -- The first partition of the other two reaches into these months.
          if parent = 'event_store' then
            raise warning '% would overlap another partition: events of the rest of that month go to the default one', name;
          end if;
        when lock_not_available then
          raise warning '% cannot be attached while another session locks the default partition: retried in the next run', name;
          return made;
      end;
    end loop;
  end loop;
  return made;
end $$`;

const dropOldest = `
-- Drops the oldest partition of inboxes or confirmed messages, if it is older than so many days. Returns its name, or null if there is none.
create or replace function eventing.drop_oldest(days integer) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' set lock_timeout = '500ms' as $$
declare
  cutoff constant timestamptz := now() - make_interval(days => days);
  oldest record;
begin
  if days < 1 then raise exception 'days must be at least 1'; end if;
  select p.relname as parent, c.relname as name, bound.upper into oldest
    from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent,
      lateral (select substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \\(''([0-9a-f-]{36})''\\)')::uuid as upper) bound
   where i.inhparent in ('eventing.inbox'::regclass, 'eventing.published'::regclass) and bound.upper <= eventing.first_id_at(cutoff)
   order by bound.upper limit 1;
  if oldest.name is null then return null; end if;
  -- An id can be older than its row: a message waited for its publication, an event for its consumer. Such rows are kept in the default
  -- partition. Only this partition cannot be written meanwhile. An insert that waits for it blocks the drop, which gives up before
  -- PostgreSQL looks for deadlocks.
  execute format('lock table eventing.%I in exclusive mode', oldest.name);
  execute format('create temp table kept on commit drop as select * from eventing.%I where %I >= %L', oldest.name,
    case oldest.parent when 'inbox' then 'handled_at' else 'published_at' end, cutoff);
  -- The drop waits for transactions that have read the earlier value: they hold a lock on the inbox.
  if oldest.parent = 'inbox' then
    update eventing.horizon set first_id = greatest(first_id, oldest.upper) where name = 'inbox';
  end if;
  execute format('drop table eventing.%I', oldest.name);
  execute format('insert into eventing.%I select * from pg_temp.kept', oldest.parent);
  drop table pg_temp.kept;
  return oldest.name;
exception when lock_not_available or deadlock_detected then
  raise warning '% cannot be dropped while other sessions use it: retried in the next run', oldest.name;
  return null;
end $$;
revoke all on function eventing.drop_oldest(integer) from public;
grant execute on function eventing.drop_oldest(integer) to $roles_housekeeping;
grant execute on function eventing.first_id_at(timestamptz) to $roles_housekeeping;
grant select (consumer, stream, aggregate_id, sequence, event_id, state, received_at), delete on eventing.kept_delivery to $roles_housekeeping;
grant select on eventing.cursor to $roles_housekeeping;
grant select (app_id, topic, event_id, abandoned_at), delete on eventing.missing_event to $roles_housekeeping`;
