import { z } from 'zod';

/**
 * Checks that a schema rejects unknown fields at every depth: a misspelt optional field must not count as absent.
 * @throws Error naming the place. Thrown when the process starts
 */
export function assertStrict(schema: z.ZodType, where: string): void {
  const open = findOpenObject(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), '');
  if (open !== undefined)
    throw new Error(`${where} accepts unknown fields at "${open}": declare it with z.strictObject`);
}

function findOpenObject(node: unknown, path: string): string | undefined {
  if (typeof node !== 'object' || node === null) return undefined;
  if ('type' in node && node.type === 'object' && 'properties' in node && !('additionalProperties' in node))
    return path;
  for (const [key, child] of Object.entries(node)) {
    const found = findOpenObject(child, `${path}/${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Checks that a schema rejects strings with U+0000 at every depth: PostgreSQL cannot store them, and its error would be
 * a 5xx.
 * @throws Error naming the place. Thrown when the process starts
 */
export function assertStorable(schema: z.ZodType, where: string): void {
  const path = findZero(schema, '');
  if (path !== undefined) throw new Error(`${where} accepts U+0000 at "${path}": declare it with text()`);
}

interface Parts extends z.core.$ZodTypeDef {
  readonly shape?: Record<string, z.ZodType>;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly innerType?: z.ZodType;
}

function findZero(schema: z.ZodType, path: string): string | undefined {
  // The inner schema of a list, a record, an optional value or a value with a default.
  const { shape = {}, element, valueType, innerType } = schema.def as Parts;
  const inner = element ?? valueType ?? innerType;
  if (inner) return findZero(inner, path);
  for (const [key, child] of Object.entries(shape)) {
    const found = findZero(child, `${path}/${key}`);
    if (found !== undefined) return found;
  }
  // The second text is long enough for schemas with a minimum length.
  const texts = ['\0', `a${'\0'.repeat(100)}`];
  return texts.some((text) => schema.safeParse(text).success) ? path : undefined;
}
