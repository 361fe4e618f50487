import type { Pool, PoolClient } from 'pg';
import { databaseFault } from '#eventing/database-faults';

/**
 * Ends unusable connections, which the pool would otherwise keep and hand out indefinitely:
 *
 * - Connections on which the server reported an outage or a systemic fault. Such a session may belong to a former
 *   primary, be read-only, or have settings from before they were corrected. A new connection costs little.
 * - Connections released inside a transaction: the next user would continue that transaction.
 * - Connections that die while a transaction holds them. Kysely, below MikroORM, releases a transaction's connection
 *   only after a successful rollback, which a dead connection cannot do. After as many broken connections as the pool
 *   has places, every request would wait in vain until the process is restarted.
 *   https://github.com/kysely-org/kysely/issues/1990
 * - Connections that become ready while the pool is closing. By then Kysely has dropped the pool, so it fails without
 *   releasing the connection, and closing would wait for it indefinitely.
 */
export function closeDeadConnections(pool: Pool): void {
  const held = new Set<PoolClient>();
  const useless = new WeakSet<PoolClient>();
  /** Connections without a successful statement since they were handed out. */
  const unproven = new WeakSet<PoolClient>();
  const releaseHeld = (client: PoolClient) => setImmediate(() => held.has(client) && client.release(true));
  pool.on('acquire', (client) => {
    held.add(client);
    unproven.add(client);
    if (pool.ending) releaseHeld(client);
  });
  pool.on('release', (_, client) => {
    held.delete(client);
    // The pool drops a connection that is ending.
    if (useless.has(client) || client.getTransactionStatus() !== 'I') void client.end();
  });
  pool.on('connect', (client) => {
    // Deferred until all other handlers have run: a query outside a transaction releases its connection itself, and
    // only one release is allowed.
    client.once('end', () => releaseHeld(client));
    client.connection.on('commandComplete', () => unproven.delete(client));
    // Prepended, so that it sees each server error before the query's own handler releases the connection.
    client.connection.prependListener('errorMessage', (error: Error & { code?: string }) => {
      const fault = databaseFault(error);
      const isInFailedTransaction = error.code === '25P02';
      if (fault === 'outage' || fault === 'systemic' || isInFailedTransaction) useless.add(client);
      // The previous user released the connection before the server had reported the open transaction, so this user's
      // `begin` fails, and Kysely never releases a connection whose `begin` fails. After a successful statement the
      // cause is a failed savepoint instead: the transaction may roll back to it and continue.
      if (isInFailedTransaction && unproven.has(client)) setImmediate(() => void client.end());
    });
  });
}
