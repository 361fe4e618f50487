// Session-level advisory locks of two numbers, ours to choose: presence is shared by all relays of the database, a partition has one holder.
const PRESENCE = 7001;
const PARTITION = 7002;

/**
 * What makes the connection a lease.
 * - A relay that is frozen sends nothing: after 5 s without a statement PostgreSQL ends the connection, and with it the leases.
 *   Never less than the longest pause of a healthy process.
 * - A relay that is frozen while an answer is on its way to it takes nothing: `tcp_user_timeout`, since the connection is not idle then.
 * - A host that is gone answers nothing: keepalives.
 * - What is marked may be forgotten when PostgreSQL itself crashes: that costs repeats, as every crash does, and spares a wave the wait
 *   for the disk.
 * - The name tells this connection from another that a pooler may slip under us: see `OWNED`.
 */
export const openLease = (name: string): string => `
  set idle_session_timeout = '5s';
  set idle_in_transaction_session_timeout = '5s';
  set statement_timeout = '10s';
  set synchronous_commit = off;
  set tcp_user_timeout = '5s';
  set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3;
  select set_config('relay.lease', '${name}', false);
  select pg_advisory_lock_shared(${PRESENCE}, 0)`;

const locks = (condition: string): string => `
  select objid::int as partition from pg_locks
   where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
     and objsubid = 2 and granted and ${condition}`;

/**
 * The partitions whose lease this very connection holds, read from PostgreSQL's own table of locks, never from our memory. Behind a
 * pooler that shares connections among clients the lock may be another relay's: then the name that the connection bears is another.
 */
export const owned = (name: string): string =>
  locks(`classid = ${PARTITION} and pid = pg_backend_pid() and current_setting('relay.lease', true) = '${name}'`);

/** All that a relay has to know to balance; a row of its own `name` and of `Leases`. */
export const survey = (name: string): string => `
  select current_setting('relay.lease', true) = '${name}' as "isOurs",
    (select count(*)::int from (${locks(`classid = ${PRESENCE}`)}) present) as relays,
    array(${owned(name)} order by 1) as mine,
    array(${locks(`classid = ${PARTITION} and pid <> pg_backend_pid()`)} order by 1) as others`;

/** `$1`: partitions; those that another has meanwhile are left to it. */
export const TAKE = `select pg_try_advisory_lock(${PARTITION}, p) from unnest($1::int[]) p`;
export const GIVE = `select pg_advisory_unlock(${PARTITION}, p) from unnest($1::int[]) p`;
