import { Migration } from '@mikro-orm/migrations';

/** Creates schema `eventing`; docs/decisions/0003 gives the reasons. `<roles>_<role>` are the database roles. */
export function createEventing(roles: string) {
  return class extends Migration {
    override up(): void {
      this.addSql(tables);
      this.addSql(partitions);
      this.addSql(views);
      this.addSql(grants.replaceAll('$roles', roles));
    }
    override down(): void {
      this.addSql('drop schema eventing cascade');
    }
  };
}

const tables = `
create schema eventing;

-- Every fact, for ever. The id is a UUIDv7, so partitions by id are partitions by time.
create table eventing.event_store (
  id uuid primary key,
  aggregate_type text not null,
  aggregate_id uuid not null,
  sequence bigint not null,
  event_type text not null,
  attributes jsonb not null,                 -- {type: encrypted value}
  reason text,                               -- encrypted: people write what they like
  event_channel text not null,               -- the program that did it
  requested_by text not null,                -- who asked for it
  traceparent text not null,
  created_at timestamptz not null default clock_timestamp()
) partition by range (id);
create index event_store_type on eventing.event_store (event_type, created_at);
create index event_store_aggregate on eventing.event_store (aggregate_id, sequence);

-- The head of every aggregate. Its row lock makes the order of sequences the order of commits.
create table eventing.stream (
  aggregate_type text not null,
  aggregate_id uuid not null,
  last_sequence bigint not null,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (aggregate_type, aggregate_id)
);

-- A key per aggregate, wrapped by the master key. Destroyed, it leaves its row, so that no new one is made.
create table eventing.encryption_key (
  aggregate_id uuid primary key,
  wrapped_key bytea,
  created_at timestamptz not null default clock_timestamp(),
  destroyed_at timestamptz,
  check ((wrapped_key is null) = (destroyed_at is not null))
);

-- Messages waiting for the relay. Rows are inserted and deleted, hardly ever updated: empty polls stay cheap.
create table eventing.outbox (
  position bigint generated always as identity primary key,
  id uuid not null unique,                   -- the message: the CloudEvent's id
  event_id uuid not null,                    -- the fact
  channel text not null check (channel in ('internal', 'external')),
  topic text not null,
  ordering_key text not null,
  partition smallint not null generated always as ((hashtextextended(ordering_key, 0) & 31)::smallint) stored,
  target text not null default 'ALL',
  envelope jsonb not null,                   -- the whole CloudEvent
  attempts integer not null default 0,       -- failures of this message alone; a broker's outage is none
  last_error text,
  next_attempt_at timestamptz,
  parked_at timestamptz,
  created_at timestamptz not null default clock_timestamp()
);
create index outbox_partition on eventing.outbox (topic, partition, position);
create index outbox_event on eventing.outbox (event_id);
create index outbox_held on eventing.outbox (topic, ordering_key, position) where parked_at is not null or next_attempt_at is not null;
alter table eventing.outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Messages that Dapr took and that have not come back yet.
create table eventing.relayed (
  id uuid primary key,
  event_id uuid not null,
  channel text not null,
  topic text not null,
  ordering_key text not null,
  partition smallint not null,
  target text not null,
  envelope jsonb not null,
  attempts integer not null,
  created_at timestamptz not null,
  relayed_at timestamptz not null default clock_timestamp(),
  sends integer not null default 1,
  resend_at timestamptz not null
);
create index relayed_due on eventing.relayed (topic, partition, resend_at);
create index relayed_event on eventing.relayed (event_id);
alter table eventing.relayed set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Confirmed messages: append-only, pruned by age.
create table eventing.published (
  id uuid primary key,
  event_id uuid not null,
  channel text not null,
  topic text not null,
  target text not null,
  attempts integer not null,
  created_at timestamptz not null,
  relayed_at timestamptz not null,           -- at the latest: a message can be back before the relay has noted it
  published_at timestamptz not null default clock_timestamp()
);
create index published_event on eventing.published (event_id);
create index published_recent on eventing.published (topic, published_at);

-- What each consumer has done, by fact.
create table eventing.inbox (
  consumer text not null,
  event_id uuid not null,
  handled_at timestamptz not null default clock_timestamp(),
  primary key (consumer, event_id)
);
create index inbox_event on eventing.inbox (event_id);

-- The ordered consumers that have said where they start.
create table eventing.consumer (
  name text primary key,
  starts text not null check (starts in ('beginning', 'heads')),
  joined_at timestamptz not null default clock_timestamp()
);

-- How far each ordered consumer has come, per aggregate.
create table eventing.cursor (
  consumer text not null,
  stream text not null,
  aggregate_id text not null,
  last_sequence bigint not null,
  primary key (consumer, stream, aggregate_id)
);

-- Deliveries that were acknowledged and are not done: too early, failing, given up, or discarded by an operator.
create table eventing.kept_delivery (
  consumer text not null,
  event_id uuid not null,
  stream text,
  aggregate_id text,
  sequence bigint,
  event_type text,
  state text not null check (state in ('early', 'failing', 'dead', 'discarded')),
  attempts integer not null default 0,
  next_attempt_at timestamptz,
  last_error text,
  envelope json,                             -- not jsonb, which refuses what other systems may send: \\u0000
  raw text,                                  -- the body, when it could not be read as an event
  received_at timestamptz not null default clock_timestamp(),
  primary key (consumer, event_id)
);
create index kept_delivery_due on eventing.kept_delivery (consumer, next_attempt_at) where next_attempt_at is not null;
create index kept_delivery_next on eventing.kept_delivery (consumer, stream, aggregate_id, sequence);
create index kept_delivery_event on eventing.kept_delivery (event_id);
`;

const partitions = `
-- The smallest UUID that a UUIDv7 of this moment can have.
create function eventing.first_id_at(at timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the monthly partitions of the event store from last month (clocks differ) to so many months ahead; returns how many it made.
create function eventing.ensure_partitions(months_ahead integer default 24) returns integer
language plpgsql security definer set search_path = pg_catalog as $$
declare
  month timestamptz := date_trunc('month', now(), 'UTC') - interval '1 month';
  made integer := 0;
  name text;
begin
  for i in 0 .. months_ahead + 1 loop
    name := 'event_store_' || to_char(month at time zone 'UTC', 'YYYY_MM');
    if to_regclass('eventing.' || name) is null then
      begin
        execute format('create table eventing.%I partition of eventing.event_store for values from (%L) to (%L)',
          name, eventing.first_id_at(month), eventing.first_id_at(month + interval '1 month'));
        made := made + 1;
      exception when check_violation then
        raise warning 'facts of % lie in the default partition already: they stay there', name;
      end;
    end if;
    month := month + interval '1 month';
  end loop;
  return made;
end $$;

-- A fact must never be refused because a partition was forgotten.
create table eventing.event_store_default partition of eventing.event_store default;
select eventing.ensure_partitions();
`;

const views = `
-- The delivery of each message, for people and tools.
create view eventing.delivery as
  select id, event_id, channel, topic, target, created_at, null::timestamptz as relayed_at, null::timestamptz as published_at, attempts, last_error
    from eventing.outbox
  union all
  select id, event_id, channel, topic, target, created_at, relayed_at, null, attempts, null from eventing.relayed
  union all
  select id, event_id, channel, topic, target, created_at, relayed_at, published_at, attempts, null from eventing.published;
`;

// Least privilege: only the owner can change or delete an event, and the relay cannot read events. Each program has only
// the rights it needs. PostgreSQL lets every role execute a function unless that is revoked.
const grants = `
revoke all on schema eventing from public;
revoke all on all functions in schema eventing from public;
grant usage on schema eventing to $roles_app, $roles_relay, $roles_housekeeping, $roles_readonly;

grant select, insert on eventing.event_store to $roles_app;
grant select, insert, update on eventing.stream, eventing.encryption_key, eventing.cursor to $roles_app;
grant select, insert, delete on eventing.outbox, eventing.kept_delivery to $roles_app;
grant update (attempts, last_error, next_attempt_at, parked_at) on eventing.outbox to $roles_app;
grant update on eventing.kept_delivery to $roles_app;
grant select, delete, update (resend_at) on eventing.relayed to $roles_app;
grant select, insert on eventing.published, eventing.inbox, eventing.consumer to $roles_app;
grant select on eventing.delivery to $roles_app;

grant select, delete on eventing.outbox to $roles_relay;
grant update (attempts, last_error, next_attempt_at, parked_at) on eventing.outbox to $roles_relay;
grant select, insert on eventing.relayed to $roles_relay;
grant update (sends, resend_at, relayed_at) on eventing.relayed to $roles_relay;
grant select on eventing.published to $roles_relay;

grant select, delete on eventing.published to $roles_housekeeping;
grant execute on function eventing.ensure_partitions(integer) to $roles_housekeeping;

grant select on eventing.event_store, eventing.stream, eventing.outbox, eventing.relayed, eventing.published, eventing.delivery,
  eventing.inbox, eventing.consumer, eventing.cursor to $roles_readonly;
grant select (consumer, event_id, stream, aggregate_id, sequence, event_type, state, attempts, next_attempt_at, last_error, received_at)
  on eventing.kept_delivery to $roles_readonly;
`;
