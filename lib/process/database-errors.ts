import { OptimisticLockError } from '@mikro-orm/core';
import { databaseFault } from '#eventing/database-faults';
import { DependencyUnavailable, DomainError } from './errors.ts';

/**
 * Maps a database error to the error that the caller receives.
 * @returns undefined for other errors and for defects of this program or its database: these become a 500
 */
export function databaseError(error: unknown): DomainError | undefined {
  if (!Error.isError(error)) return undefined;
  if (error instanceof OptimisticLockError)
    return new DomainError(
      'concurrent-change',
      'Another request changed this at the same time: read it again, then retry',
      'conflict',
      { cause: error },
    );
  if (codeOf(error).startsWith('23')) {
    // A violation of any constraint other than a unique one is a defect of this program, not a mistake of the caller.
    if (codeOf(error) !== '23505') return undefined;
    return new DomainError('already-exists', 'This already exists', 'conflict', { cause: error });
  }
  switch (databaseFault(error)) {
    case 'outage':
      return new DependencyUnavailable('database-unavailable', 'The database cannot be reached', { cause: error });
    case 'momentary':
      return new DependencyUnavailable('try-again', 'The database is busy with conflicting requests: try again', {
        cause: error,
        retryAfterSeconds: 1,
      });
    case 'input':
      return new DomainError('value-refused', 'The request contains a value that cannot be stored', 'invalid', {
        cause: error,
      });
    // Systemic faults need an operator: they become a 500 that is logged as an error.
    default:
      return undefined;
  }
}

/** Returns the SQLSTATE or the system's error code, or an empty string when there is none. */
function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
