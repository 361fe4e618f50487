import type { EntityManager } from '@mikro-orm/postgresql';

/**
 * Runs one SQL statement, in the entity manager's transaction if it has one; `?` stands for a parameter.
 * The tables of eventing have no entities, because they are written in bulk and never tracked.
 */
export function execute<Row = unknown>(
  em: EntityManager,
  sql: string,
  params: readonly unknown[] = [],
): Promise<Row[]> {
  return em.getConnection('write').execute<Row[]>(sql, params as unknown[], 'all', em.getTransactionContext());
}

/** Formats an array literal of PostgreSQL, for a parameter cast to `uuid[]` or `text[]`. */
export function array(values: readonly string[]): string {
  return `{${values.map((value) => `"${value.replaceAll(/(["\\])/g, '\\$1')}"`).join(',')}}`;
}
