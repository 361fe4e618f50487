import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import { databaseError } from '#process/database-errors';
import { DomainError, type ErrorKind } from '#process/errors';

/** The only mapping from kinds of errors to HTTP statuses. */
export const statusOf: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  'not-found': 404,
  'method-not-allowed': 405,
  conflict: 409,
  gone: 410,
  'too-large': 413,
  'unsupported-media-type': 415,
  unprocessable: 422,
  'too-many': 429,
  unavailable: 503,
};

/** https://www.rfc-editor.org/rfc/rfc9457 */
export const problemSchema = z
  .object({
    type: z.string().meta({ description: 'urn:problem:<slug>' }),
    title: z.string(),
    status: z.int(),
    slug: z.string().meta({ description: 'Stable identifier of the problem, for clients to branch on' }),
    detail: z.string(),
    instance: z.string().meta({ description: 'The trace of this request, as logged by the service' }),
    errors: z
      .array(z.object({ in: z.enum(['path', 'query', 'body']), pointer: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'The invalid fields, each with a JSON pointer into that part of the request' }),
  })
  .meta({ id: 'Problem' });

export interface Problem {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: z.output<typeof problemSchema>;
  /** The error is not an expected one: the response reveals nothing of it, and it must be logged. */
  readonly unexpected: boolean;
}

/** Converts an error to a problem that reveals only what callers may know. */
export function toProblem(error: unknown, traceId: string): Problem {
  const expected = error instanceof DomainError ? error : (databaseError(error) ?? httpError(error));
  const status = expected ? statusOf[expected.kind] : 500;
  const slug = expected?.slug ?? 'internal-error';
  const retryAfter = expected?.retryAfterSeconds;
  return {
    status,
    unexpected: !expected,
    headers: retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) },
    body: {
      type: `urn:problem:${slug}`,
      title: STATUS_CODES[status] ?? 'Error',
      status,
      slug,
      detail: expected?.message ?? 'Internal error: report it with the trace in `instance`',
      instance: `urn:trace:${traceId}`,
      errors: expected?.errors?.length ? [...expected.errors] : undefined,
    },
  };
}

/** Converts an error thrown by `ctx.throw`, if its `expose` allows callers to see it. */
function httpError(error: unknown): DomainError | undefined {
  const { status, expose, message } = (error ?? {}) as { status?: unknown; expose?: unknown; message?: string };
  const kind = (Object.keys(statusOf) as ErrorKind[]).find((name) => statusOf[name] === status);
  return kind && expose ? new DomainError(kind, message || kind, kind, { cause: error }) : undefined;
}
