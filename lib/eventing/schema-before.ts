import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from './sql.ts';

const found = new WeakMap<object, Set<string>>();

/**
 * Returns whether a table of schema `eventing` exists. This release must also work with the schema of release 0.1, which lacks
 * the tables below (docs/decisions/0015). A positive result is cached. To be removed in the next release.
 */
async function hasTable(em: EntityManager, name: string): Promise<boolean> {
  const connection = em.getConnection('write');
  const tables = found.get(connection) ?? new Set();
  if (tables.has(name)) return true;
  const [row] = await execute<{ it: boolean }>(em, 'select to_regclass(?) is not null as it', [`eventing.${name}`]);
  if (row!.it) found.set(connection, tables.add(name));
  return row!.it;
}

/** Whether migration Eventing0006Conflicts has run: with `applied` came `kept_delivery.topic`. */
export const hasConflictTables = (em: EntityManager): Promise<boolean> => hasTable(em, 'applied');

/** Whether migration Eventing0009OperatorActions has run: with `operator_action` came `missing_event`. */
export const hasOperatorActions = (em: EntityManager): Promise<boolean> => hasTable(em, 'operator_action');

/** Whether migration Eventing0010Partitions has run: with `horizon` came the end of the inbox's retention. */
export const hasHorizon = (em: EntityManager): Promise<boolean> => hasTable(em, 'horizon');
