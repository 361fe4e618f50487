import { OptimisticLockError } from '@mikro-orm/core';
import { databaseOutage } from '#eventing/sql';
import { DependencyUnavailable, DomainError } from './errors.ts';

/** What a failure of the database means to a caller; undefined when the error is something else. */
export function databaseError(error: unknown): DomainError | undefined {
  if (!Error.isError(error)) return undefined;
  if (error instanceof OptimisticLockError)
    return new DomainError(
      'concurrent-change',
      'Somebody else changed this at the same moment: read it again',
      'conflict',
      { cause: error },
    );
  const outage = databaseOutage(error);
  if (outage === 'away')
    return new DependencyUnavailable('database-unavailable', 'The database cannot be reached', { cause: error });
  if (outage === 'busy')
    return new DependencyUnavailable('try-again', 'Too much happened at once: try again', {
      cause: error,
      retryAfterSeconds: 1,
    });
  if (codeOf(error) === '23505')
    return new DomainError('already-exists', 'This exists already', 'conflict', { cause: error });
  return undefined;
}

/** SQLSTATE or the system's error code; empty when there is none. */
export function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
