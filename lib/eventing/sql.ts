import type { EntityManager } from '@mikro-orm/postgresql';

/**
 * Runs one statement of eventing in the entity manager's running transaction, if it has one; `?` stands for a parameter.
 * Eventing's tables have no entities: they are written in bulk and never tracked.
 */
export function execute<Row = unknown>(
  em: EntityManager,
  sql: string,
  params: readonly unknown[] = [],
): Promise<Row[]> {
  return em.getConnection('write').execute<Row[]>(sql, params as unknown[], 'all', em.getTransactionContext());
}

/** As PostgreSQL writes an array, for a parameter cast to `uuid[]` or `text[]`. */
export function array(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replaceAll(/(["\\])/g, '\\$1')}"`).join(',')}}`;
}

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);
// Shut down by an administrator, crashed, starting up, read-only after a failover; class 08 is connections, class 53 resources.
const DOWN = /^(57P0[123]|25006|08.{3}|53.{3})$/;
// Serialisation failure, deadlock, lock or statement time-out: the same may well succeed in a moment.
const MOMENTARY = new Set(['40001', '40P01', '55P03', '57014']);
// pg gives these no code: no connection came free in time, or one broke under a query.
const CONNECTION_LOST =
  /^(timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error)/;

/** Whether an error is the database's outage (`away`) or a collision that is over in a moment (`busy`), and nobody's mistake. */
export function databaseOutage(error: Error): 'away' | 'busy' | undefined {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string' && MOMENTARY.has(code)) return 'busy';
  if (typeof code === 'string' && (UNREACHABLE.has(code) || DOWN.test(code))) return 'away';
  return CONNECTION_LOST.test(error.message) ? 'away' : undefined;
}
