/**
 * What PostgreSQL holds a service to; milliseconds. They are settings of its role (services/databases): sent along with a connection, a
 * pooler that does not know them would refuse it.
 */
export const timeOuts = {
  /** Longer than any statement of ours, shorter than a caller's patience and the server's request time-out. */
  statement_timeout: 15_000,
  /** A transaction that nobody ends holds row locks, and every dead row in the database. */
  idle_in_transaction_session_timeout: 30_000,
} as const;
