import { text } from 'co-body';
import type { Context } from 'koa';
import { DomainError } from './errors.ts';
import { invalidRequest } from './validate.ts';

/** Our largest legitimate body has a few hundred bytes; this leaves room and keeps memory per request small. */
const LIMIT_BYTES = 256 * 1024;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The request's JSON object, or undefined when there is no body.
 * @throws DomainError 413 over 256 KB, 415 for another content type, 400 for anything that is not a JSON object in UTF-8
 */
export async function readJson(ctx: Context): Promise<unknown> {
  const type = ctx.get('content-type');
  if (type && !isJson(type)) throw unsupported('The body must be application/json in UTF-8');
  const bytes = await readBytes(ctx);
  if (bytes.length === 0) return undefined;
  if (!type) throw unsupported('The body must say that it is application/json');
  const value = parse(bytes);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('is not a JSON object');
  return value;
}

function isJson(contentType: string): boolean {
  const [type, ...parameters] = contentType
    .toLowerCase()
    .split(';')
    .map((part) => part.trim());
  const charset = parameters
    .find((parameter) => parameter.startsWith('charset='))
    ?.replace(/^charset="?([^"]*)"?$/, '$1');
  return type === 'application/json' && (charset ?? 'utf-8') === 'utf-8';
}

async function readBytes(ctx: Context): Promise<Buffer> {
  try {
    // Without an encoding, what co-body calls text is the bytes; they are decoded here, strictly.
    return (await text(ctx, { limit: LIMIT_BYTES, encoding: null as unknown as string })) as unknown as Buffer;
  } catch (error) {
    const status = (error as { status?: number }).status;
    if (status === 413)
      throw new DomainError('body-too-large', `The body is larger than ${LIMIT_BYTES / 1024} KB`, 'too-large');
    if (status === 415) throw unsupported('The content encoding is not supported');
    throw malformed('ended early or is badly encoded', error);
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
