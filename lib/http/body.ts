import { MIMEType } from 'node:util';
import { text } from 'co-body';
import type { Context, Middleware } from 'koa';
import { DomainError } from '#process/errors';
import { invalidRequest } from './validate.ts';

/** The largest legitimate body has a few hundred bytes; this leaves room and keeps memory per request small. */
const LIMIT_BYTES = 256 * 1024;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Normalises Content-Encoding to the only spelling that co-body supports, for all later middleware.
 * https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1
 */
export const contentCoding: Middleware = ({ req: { headers } }, next) => {
  const codings = (headers['content-encoding'] ?? '').toLowerCase().split(',');
  const applied = codings.map((coding) => coding.trim()).filter((coding) => coding && coding !== 'identity');
  headers['content-encoding'] = applied.join(', ').replace(/^x-gzip$/, 'gzip') || 'identity';
  return next();
};

/**
 * Reads the request's JSON object.
 * @returns undefined when there is no body
 * @throws DomainError 413 over 256 KB, 415 for another content type, 400 for anything that is not a JSON object in
 * UTF-8
 */
export async function readJson(ctx: Context): Promise<unknown> {
  const type = ctx.get('content-type');
  if (type && !isJson(type)) throw unsupported('Content-Type must be application/json in UTF-8');
  const bytes = await readBytes(ctx);
  if (bytes.length === 0) return undefined;
  if (!type) throw unsupported('A request with a body needs the Content-Type application/json');
  const value = parse(bytes);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('is not a JSON object');
  return value;
}

function isJson(contentType: string): boolean {
  try {
    const { essence, params } = new MIMEType(contentType);
    return (
      essence === 'application/json' && ['utf-8', 'utf8'].includes(params.get('charset')?.toLowerCase() ?? 'utf-8')
    );
  } catch {
    return false;
  }
}

async function readBytes(ctx: Context): Promise<Buffer> {
  try {
    // With a null encoding, co-body's `text` returns the bytes. `parse` decodes them strictly, which co-body does not.
    return (await text(ctx, { limit: LIMIT_BYTES, encoding: null as unknown as string })) as unknown as Buffer;
  } catch (error) {
    const status = (error as { status?: number }).status;
    if (status === 413)
      throw new DomainError('body-too-large', `The body is larger than ${LIMIT_BYTES / 1024} KB`, 'too-large');
    if (status === 415) throw unsupported('The content encoding is not supported');
    throw malformed('is incomplete or has an invalid content encoding', error);
  }
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (error) {
    throw malformed('is not JSON in UTF-8', error);
  }
}

function malformed(detail: string, cause?: unknown): DomainError {
  const { message, errors } = invalidRequest([{ in: 'body', pointer: '', detail }]);
  return new DomainError('malformed-body', message, 'invalid', { errors, cause });
}

function unsupported(message: string): DomainError {
  return new DomainError('unsupported-media-type', message, 'unsupported-media-type');
}
