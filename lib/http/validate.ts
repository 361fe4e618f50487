import type { z } from 'zod';
import { DomainError, type FieldError } from '#process/errors';

/** Keeps responses short: a body may contain tens of thousands of wrong fields. */
const MAX_ERRORS = 20;
const MAX_POINTER_LENGTH = 200;

/**
 * Validates one part of a request.
 * @returns the parsed value
 * @throws DomainError `invalid-request` with a JSON pointer to each bad field, never with a value
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, part: FieldError['in']): T {
  const result = schema.safeParse(value, { error: describeIssue });
  if (result.success) return result.data;
  throw invalidRequest(result.error.issues.flatMap((issue) => fieldErrors(issue, part)).slice(0, MAX_ERRORS));
}

/** Replaces zod's messages that are unclear without knowledge of zod. Messages declared in a schema take precedence. */
function describeIssue({ code, expected, input }: z.core.$ZodRawIssue): string | undefined {
  if (code !== 'invalid_type') return undefined;
  return input === undefined ? 'is missing' : `is not ${/^[aeio]/.test(`${expected}`) ? 'an' : 'a'} ${expected}`;
}

/** Creates the error for a request that does not match its route's declaration. */
export function invalidRequest(errors: readonly FieldError[]): DomainError {
  const first = errors[0];
  const where = first?.pointer ? ` at ${first.pointer}` : '';
  const message = first ? `The ${first.in} is not valid${where}: ${first.detail}` : 'The request is not valid';
  return new DomainError('invalid-request', message, 'invalid', { errors });
}

function fieldErrors(issue: z.core.$ZodIssue, part: FieldError['in']): FieldError[] {
  if (issue.code !== 'unrecognized_keys') return [{ in: part, pointer: pointerTo(issue.path), detail: issue.message }];
  const keys = issue.keys.slice(0, MAX_ERRORS);
  return keys.map((key) => ({ in: part, pointer: pointerTo([...issue.path, key]), detail: 'is not a known field' }));
}

/** https://www.rfc-editor.org/rfc/rfc6901 */
function pointerTo(path: readonly PropertyKey[]): string {
  const pointer = path.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
  return pointer.length > MAX_POINTER_LENGTH ? `${pointer.slice(0, MAX_POINTER_LENGTH)}...` : pointer;
}
