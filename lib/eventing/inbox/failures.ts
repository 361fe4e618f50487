import { databaseFault } from '../database-faults.ts';

/**
 * Returns whether a dependency or the database was unreachable or too busy. Also for collisions (deadlock, lock
 * timeout, optimistic lock) and systemic faults: the event is not at fault and must outlast the repair.
 */
export function isOutage(error: unknown): boolean {
  if (!Error.isError(error)) return false;
  const fault = databaseFault(error);
  if (isDependencyOutage(error) || error.name === 'OptimisticLockError' || (fault && fault !== 'input')) return true;
  return isOutage(error.cause);
}

/** Returns whether a dependency other than the database could not be reached. */
export function isDependencyOutage(error: unknown): boolean {
  return Error.isError(error) && ((error as { outage?: boolean }).outage === true || isDependencyOutage(error.cause));
}

/**
 * Describes an error for operators, without personal data: messages of drivers quote the values of failed statements, those
 * of parsers the text that could not be parsed.
 */
export function describeError(error: unknown): string {
  if (!Error.isError(error)) return 'a value that is not an Error was thrown';
  const { code, slug, issues } = error as {
    code?: string;
    slug?: string;
    issues?: { path: PropertyKey[]; code: string }[];
  };
  const what = slug ?? code ?? issues?.map((issue) => `${issue.path.join('.')} ${issue.code}`).join(', ');
  const quotes = error.name === 'SyntaxError' || issues || error.name.endsWith('Exception');
  const message = quotes ? '' : `: ${error.message.split('\n')[0]}`;
  return `${error.name}${what ? ` (${what})` : ''}${message}`.replaceAll('\0', '').slice(0, 500);
}
