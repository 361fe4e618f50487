import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import { databaseError } from './database-errors.ts';
import { DomainError, type ErrorKind } from './errors.ts';

/** The one place where the vocabulary of errors meets HTTP. */
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
    slug: z.string().meta({ description: 'Stable: decide by this' }),
    detail: z.string(),
    instance: z.string().meta({ description: 'The trace of this request, as it is found in the logs' }),
    errors: z
      .array(z.object({ in: z.enum(['path', 'query', 'body']), pointer: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: 'The bad fields, by JSON pointer into that part of the request' }),
  })
  .meta({ id: 'Problem' });

export interface Problem {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: z.output<typeof problemSchema>;
  /** Nothing of the error is told: it belongs in the log. */
  readonly unexpected: boolean;
}

/** What a caller may know about an error. */
export function toProblem(error: unknown, traceId: string): Problem {
  const known = error instanceof DomainError ? error : (databaseError(error) ?? httpError(error));
  const status = known ? statusOf[known.kind] : 500;
  const slug = known?.slug ?? 'internal-error';
  const retryAfter = known?.retryAfterSeconds;
  return {
    status,
    unexpected: !known,
    headers: retryAfter === undefined ? {} : { 'Retry-After': String(retryAfter) },
    body: {
      type: `urn:problem:${slug}`,
      title: STATUS_CODES[status] ?? 'Error',
      status,
      slug,
      detail: known?.message ?? 'Something went wrong on our side; it has been noted',
      instance: `urn:trace:${traceId}`,
      errors: known?.errors?.length ? [...known.errors] : undefined,
    },
  };
}

/** Errors thrown by `ctx.throw`, which says with `expose` whether callers may know. */
function httpError(error: unknown): DomainError | undefined {
  const { status, expose, message } = (error ?? {}) as { status?: unknown; expose?: unknown; message?: string };
  const kind = (Object.keys(statusOf) as ErrorKind[]).find((name) => statusOf[name] === status);
  return kind && expose ? new DomainError(kind, message || kind, kind, { cause: error }) : undefined;
}
