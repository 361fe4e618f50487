import { Migration } from '@mikro-orm/migrations';

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
      this.addSql(dropOld.replaceAll('$roles', roles));
      this.addSql('select eventing.ensure_partitions()');
      this.addSql("set lock_timeout = '10s'");
    }
  };
}

// Not in one transaction: what an interrupted migration has created is there already.
const horizon = `
-- Before it, a missing inbox row does not mean that an event was not applied.
create table if not exists eventing.horizon (
  name text primary key,
  at timestamptz not null
);
insert into eventing.horizon values ('inbox', '-infinity') on conflict do nothing;
grant select on eventing.horizon to $roles_app, $roles_readonly`;

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
    grants: 'grant select, insert on eventing.inbox to $roles_app; grant select on eventing.inbox to $roles_readonly',
  },
  {
    name: 'published',
    key: 'id',
    primaryKey: 'id',
    indexes: { published_event: 'event_id', published_recent: 'topic, published_at' },
    grants: `grant select, insert on eventing.published to $roles_app; grant select on eventing.published to $roles_relay, $roles_readonly;
      grant select, delete on eventing.published to $roles_housekeeping`,
  },
];

/** Statements that turn a table into a partitioned one; nothing if it is one. */
function partition({ name, key, primaryKey, indexes, grants }: Table, roles: string): string[] {
  const ifPlain = (text: string) => `do $$
    declare
      bound constant timestamptz := date_trunc('month', now(), 'UTC') + interval '2 months';
      bounded constant text := (select substring(pg_get_constraintdef(oid) from '''([0-9a-f-]{36})''') from pg_constraint
        where conrelid = 'eventing.${name}'::regclass and conname = '${name}_bound');
      old constant text := '${name}_' || case when bounded is null then 'default' else 'first' end;
      index text;
    begin
      if (select relkind from pg_class where oid = 'eventing.${name}'::regclass) <> 'r' then return; end if;
      ${text}
    end $$`;
  return [
    // With a valid constraint, attaching the table reads no row. Ids of other systems may be beyond any bound: then it becomes the
    // default partition.
    ifPlain(`
      if bounded is null and not exists (select from eventing.${name} where ${key} >= eventing.first_id_at(bound)) then
        execute format('alter table eventing.${name} add constraint ${name}_bound check (${key} < %L) not valid', eventing.first_id_at(bound));
      end if;`),
    ifPlain(`
      if bounded is not null then alter table eventing.${name} validate constraint ${name}_bound; end if;`),
    ifPlain(`
      lock table eventing.${name} in access exclusive mode;
      for index in select relname from pg_index join pg_class on oid = indexrelid where indrelid = 'eventing.${name}'::regclass loop
        execute format('alter index eventing.%I rename to %I', index, replace(index, '${name}_', old || '_'));
      end loop;
      execute format('alter table eventing.${name} rename to %I', old);
      execute format('create table eventing.${name} (like eventing.%I including defaults, primary key (${primaryKey})) partition by range (${key})', old);
      ${Object.entries(indexes)
        .map(([index, columns]) => `create index ${index} on eventing.${name} (${columns});`)
        .join('\n      ')}
      if bounded is null then
        execute format('alter table eventing.${name} attach partition eventing.%I default', old);
      else
        execute format('alter table eventing.${name} attach partition eventing.%I for values from (minvalue) to (%L)', old, bounded);
        create table eventing.${name}_default partition of eventing.${name} default;
      end if;
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
language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  this_month constant timestamptz := date_trunc('month', now());
  month timestamptz;
  made integer := 0;
  name text;
  parent text;
begin
  foreach parent in array array['event_store', 'inbox', 'published'] loop
    -- Statements plan for every partition of the other two: three months are enough for a housekeeping that fails for weeks.
    for i in -1 .. case parent when 'event_store' then months_ahead else least(months_ahead, 3) end loop
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

const dropOld = `
-- Ends the retention of inboxes and confirmed messages that are older than so many days; returns how many partitions it dropped.
create or replace function eventing.drop_old(days integer) returns integer
language plpgsql security definer set search_path = pg_catalog set timezone = 'UTC' set lock_timeout = '1s' as $$
declare
  cutoff constant timestamptz := now() - make_interval(days => days);
  dropped integer := 0;
  old record;
  is_needed boolean;
begin
  if days < 1 then raise exception 'days must be at least 1'; end if;
  -- Before anything is deleted: a transaction that still reads the earlier value holds a lock on the inbox, for which the drop waits.
  update eventing.horizon set at = greatest(at, cutoff) where name = 'inbox';
  for old in
    select p.relname as parent, c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
     where i.inhparent in ('eventing.inbox'::regclass, 'eventing.published'::regclass)
       and substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \\(''([0-9a-f-]{36})''\\)')::uuid <= eventing.first_id_at(cutoff)
     order by c.relname
  loop
    begin
      -- An id is as old as the message, which may have waited for its publication.
      is_needed := false;
      if old.parent = 'published' then
        execute format('select exists (select from eventing.%I where published_at >= %L)', old.name, cutoff) into is_needed;
      end if;
      continue when is_needed;
      execute format('drop table eventing.%I', old.name);
      dropped := dropped + 1;
    exception when lock_not_available then
      raise warning '% cannot be dropped while other sessions use its table: retried in the next run', old.name;
    end;
  end loop;
  -- Ids that are not UUIDv7 do not say how old the event is.
  delete from eventing.inbox_default where handled_at < cutoff - interval '1 day'
    and (event_id < eventing.first_id_at(cutoff) or substring(event_id::text from 15 for 1) <> '7');
  delete from eventing.published_default where published_at < cutoff;
  return dropped;
end $$;
revoke all on function eventing.drop_old(integer) from public;
grant execute on function eventing.drop_old(integer), eventing.first_id_at(timestamptz) to $roles_housekeeping;
grant select (consumer, stream, aggregate_id, sequence, event_id, state, received_at), delete on eventing.kept_delivery to $roles_housekeeping;
grant select on eventing.cursor to $roles_housekeeping;
grant select (app_id, topic, event_id, abandoned_at), delete on eventing.missing_event to $roles_housekeeping`;
