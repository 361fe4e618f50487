import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from './sql.ts';

const found = new WeakMap<object, Set<string>>();

/**
 * Returns whether a table or function of schema `eventing` exists. This release must also work with the schema of release 0.1, which lacks
 * those below (docs/decisions/0015). A positive result is cached. To be removed in the next release.
 */
async function has(em: EntityManager, kind: 'regclass' | 'regproc', name: string): Promise<boolean> {
  const connection = em.getConnection('write');
  const names = found.get(connection) ?? new Set();
  if (names.has(name)) return true;
  const [row] = await execute<{ it: boolean }>(em, `select to_${kind}(?) is not null as it`, [`eventing.${name}`]);
  if (row!.it) found.set(connection, names.add(name));
  return row!.it;
}

/** Whether migration Eventing0006Conflicts has run: with `applied` came `kept_delivery.topic`. */
export const hasConflictTables = (em: EntityManager): Promise<boolean> => has(em, 'regclass', 'applied');

/** Whether migration Eventing0009OperatorActions has run: with `operator_action` came `missing_event`. */
export const hasOperatorActions = (em: EntityManager): Promise<boolean> => has(em, 'regclass', 'operator_action');

/** Whether migration Eventing0010Partitions has run: with `horizon` came the end of the inbox's retention. */
export const hasHorizon = (em: EntityManager): Promise<boolean> => has(em, 'regclass', 'horizon');

/** Whether migration Eventing0011Append has run. */
export const hasAppend = (em: EntityManager): Promise<boolean> => has(em, 'regproc', 'append_1');

/** Whether migration Eventing0012ReceiveAndConfirm has run. */
export const hasReceive = (em: EntityManager): Promise<boolean> => has(em, 'regproc', 'receive_1');
