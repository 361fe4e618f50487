import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from './sql.ts';

const migrated = new WeakSet<object>();

/**
 * Returns whether migration Eventing0006Conflicts has run. The schema of release 0.1 has neither `applied` nor
 * `kept_delivery.topic`, and this release must work with it too (docs/decisions/0015). A positive result is cached.
 * To be removed in the next release.
 */
export async function hasConflictTables(em: EntityManager): Promise<boolean> {
  const connection = em.getConnection('write');
  if (migrated.has(connection)) return true;
  const [row] = await execute<{ it: boolean }>(em, `select to_regclass('eventing.applied') is not null as it`);
  if (row!.it) migrated.add(connection);
  return row!.it;
}
