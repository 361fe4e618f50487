import { OptimisticLockError } from '@mikro-orm/core';
import { DependencyUnavailable, DomainError } from './errors.ts';

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
// Shut down by an administrator, crashed, starting up, no connection left, read-only after a failover.
const DOWN = new Set(['57P01', '57P02', '57P03', '53300', '25006']);
// Serialisation failure, deadlock, lock or statement time-out: the same request may well succeed in a moment.
const MOMENTARY = new Set(['40001', '40P01', '55P03', '57014']);
// pg gives these no code: no connection came free in time, or one broke under a query.
const CONNECTION_LOST =
  /^(timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error)/;

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
  const code = codeOf(error);
  if (UNREACHABLE.has(code) || DOWN.has(code) || code.startsWith('08') || CONNECTION_LOST.test(error.message))
    return new DependencyUnavailable('database-unavailable', 'The database cannot be reached', { cause: error });
  if (MOMENTARY.has(code))
    return new DependencyUnavailable('try-again', 'Too much happened at once: try again', {
      cause: error,
      retryAfterSeconds: 1,
    });
  if (code === '23505') return new DomainError('already-exists', 'This exists already', 'conflict', { cause: error });
  return undefined;
}

/** SQLSTATE or the system's error code; empty when there is none. */
export function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : '';
}
