/** What went wrong, in the words of the domain. The one mapping to HTTP statuses is in problem.ts. */
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

/** Why one part of a request was refused. */
export interface FieldError {
  readonly in: 'path' | 'query' | 'body';
  /** JSON pointer (RFC 6901) into that part; empty for the whole. */
  readonly pointer: string;
  readonly detail: string;
}

export interface ErrorDetails extends ErrorOptions {
  readonly errors?: readonly FieldError[];
  /** When it is worth trying again, in seconds. */
  readonly retryAfterSeconds?: number;
}

/**
 * An expected failure that the caller is told about.
 * `slug` is kebab-case and stable: clients decide by it. `message` is for people, and must hold no one's personal data.
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

/** Something this service needs cannot be reached right now: an outage, nobody's mistake. Trying again later is the cure. */
export class DependencyUnavailable extends DomainError {
  override readonly name = 'DependencyUnavailable';
  /** Consumers of events spend no attempt on it (lib/eventing/inbox). */
  readonly outage = true;

  constructor(slug: string, message: string, { retryAfterSeconds = 5, ...details }: ErrorDetails = {}) {
    super(slug, message, 'unavailable', { ...details, retryAfterSeconds });
  }
}
