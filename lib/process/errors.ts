/** Kinds of expected failures. The only mapping to HTTP statuses is in lib/http/problem.ts. */
export type ErrorKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not-found'
  | 'method-not-allowed'
  | 'conflict'
  | 'gone'
  | 'too-large'
  | 'unsupported-media-type'
  | 'unprocessable'
  | 'too-many'
  | 'unavailable';

/** Why a part of a request was rejected. */
export interface FieldError {
  readonly in: 'path' | 'query' | 'body';
  /** JSON pointer (RFC 6901) into that part; empty for the whole part. */
  readonly pointer: string;
  readonly detail: string;
}

export interface ErrorDetails extends ErrorOptions {
  readonly errors?: readonly FieldError[];
  /** Seconds to wait before a retry. */
  readonly retryAfterSeconds?: number;
}

/**
 * An expected failure, reported to the caller.
 * `slug` is kebab-case and stable: clients branch on it. `message` is for people and must not contain personal data.
 */
export class DomainError extends Error {
  override readonly name: string = 'DomainError';
  readonly slug: string;
  readonly kind: ErrorKind;
  readonly errors: readonly FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(slug: string, message: string, kind: ErrorKind, { errors, retryAfterSeconds, cause }: ErrorDetails = {}) {
    super(message, { cause });
    this.slug = slug;
    this.kind = kind;
    this.errors = errors;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * A dependency of this service cannot be reached: an outage, not a mistake of the caller. A later retry may succeed.
 */
export class DependencyUnavailable extends DomainError {
  override readonly name = 'DependencyUnavailable';
  /** Consumers of events do not count an outage as an attempt (lib/eventing/inbox). */
  readonly outage = true;

  constructor(slug: string, message: string, { retryAfterSeconds = 5, ...details }: ErrorDetails = {}) {
    super(slug, message, 'unavailable', { ...details, retryAfterSeconds });
  }
}
