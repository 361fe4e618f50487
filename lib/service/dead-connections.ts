import type { Pool, PoolClient } from 'pg';

/**
 * Gives back connections that die while a transaction holds them. Kysely, below MikroORM, releases a transaction's connection only after
 * a rollback that succeeded, which it cannot on a dead one: after as many broken connections as the pool has places, every request would
 * wait for a free one in vain until the process is started again. https://github.com/kysely-org/kysely/issues/1990
 */
export function releaseDeadConnections(pool: Pool): void {
  const held = new Set<PoolClient>();
  pool.on('acquire', (client) => held.add(client));
  pool.on('release', (_, client) => held.delete(client));
  pool.on('connect', (client) => {
    client.once('end', () => {
      // After everything that follows from the break: a query outside a transaction gives its connection back by itself, and once only.
      setImmediate(() => held.has(client) && client.release(true));
    });
  });
}
