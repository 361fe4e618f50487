import type { Pool, PoolClient } from 'pg';

/**
 * Gives back connections that die while a transaction holds them. Kysely, below MikroORM, releases a transaction's connection only after
 * a rollback that succeeded, which it cannot on a dead one: after as many broken connections as the pool has places, every request would
 * wait for a free one in vain until the process is started again. https://github.com/kysely-org/kysely/issues/1990
 *
 * And those that are ready only when the pool is being closed: Kysely has let go of the pool by then, fails, and forgets the connection,
 * for which closing would wait for ever.
 */
export function releaseDeadConnections(pool: Pool): void {
  const held = new Set<PoolClient>();
  const giveBack = (client: PoolClient) => setImmediate(() => held.has(client) && client.release(true));
  pool.on('acquire', (client) => {
    held.add(client);
    if (pool.ending) giveBack(client);
  });
  pool.on('release', (_, client) => held.delete(client));
  pool.on('connect', (client) => {
    // After everything that follows from the break: a query outside a transaction gives its connection back by itself, and once only.
    client.once('end', () => giveBack(client));
  });
}
