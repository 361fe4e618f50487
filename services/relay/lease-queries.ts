import { setSession } from '#process/session-settings';

// First numbers of two-number, session-level advisory locks; the values are arbitrary. Every relay of the database shares the presence
// lock; each partition lock has one holder.
const PRESENCE = 7001;
export const PARTITION = 7002;

/** Statements that make the planner find rows through an index. Compiling such statements would take longer than running them. */
export const BY_INDEX = 'set enable_seqscan = off; set enable_bitmapscan = off; set jit = off;';

/**
 * Returns the statements that turn a new connection into a lease.
 * - Frozen relay: after 5 s without a statement PostgreSQL ends the connection and frees its locks (`idle_session_timeout`). Not shorter:
 *   the timeout must exceed the longest pause of a healthy process.
 * - Relay frozen while it receives a result: the connection is not idle then, so `tcp_user_timeout` ends it.
 * - Lost host: TCP keepalives.
 * - `synchronous_commit = off`: a crash of PostgreSQL may lose marks, which only repeats messages, and a statement does not wait for the disk.
 * - `BY_INDEX`: every statement finds its rows through an index. The planner's statistics of a table that fills and empties
 *   within seconds are always wrong, and a wrong plan reads everything that waits.
 * - `relay.lease` identifies this connection if a pooler substitutes another one: see `owned`.
 * @param name unique per lease
 */
export const openLease = (name: string): string => `
  ${setSession}
  set idle_session_timeout = '5s';
  set idle_in_transaction_session_timeout = '5s';
  set statement_timeout = '10s';
  set synchronous_commit = off;
  ${BY_INDEX}
  set tcp_user_timeout = '5s';
  set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3;
  select set_config('relay.lease', '${name}', false);
  select pg_advisory_lock_shared(${PRESENCE}, 0)`;

const locks = (condition: string): string => `
  select objid::int as partition from pg_locks
   where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
     and objsubid = 2 and granted and ${condition}`;

/**
 * Returns a query for the partitions that this connection holds, read from `pg_locks` and not from memory, which may be stale. Behind a
 * pooler that shares connections among clients the locks may be another relay's: then `relay.lease` holds another name.
 */
export const owned = (name: string): string =>
  locks(`classid = ${PARTITION} and pid = pg_backend_pid() and current_setting('relay.lease', true) = '${name}'`);

/** Returns a query for one row of `isOurs`, `isReadOnly` and `Leases`: all that balancing needs. */
export const survey = (name: string): string => `
  select current_setting('relay.lease', true) = '${name}' as "isOurs",
    current_setting('transaction_read_only')::boolean as "isReadOnly",
    (select count(*)::int from (${locks(`classid = ${PRESENCE}`)}) present) as relays,
    array(${owned(name)} order by 1) as mine,
    array(${locks(`classid = ${PARTITION} and pid <> pg_backend_pid()`)} order by 1) as others`;

/** Acquires the partitions in `$1`; skips those that another relay has acquired meanwhile. */
export const ACQUIRE = `select pg_try_advisory_lock(${PARTITION}, p) from unnest($1::int[]) p`;
/** Releases the partitions in `$1`. */
export const RELEASE = `select pg_advisory_unlock(${PARTITION}, p) from unnest($1::int[]) p`;
