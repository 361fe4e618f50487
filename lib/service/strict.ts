import { z } from 'zod';

/**
 * Makes sure that a schema refuses fields it does not know, at every depth: a misspelt optional field must not pass for one left out.
 * @throws Error naming the place, so that it is found when the process starts
 */
export function assertStrict(schema: z.ZodType, where: string): void {
  const open = findOpenObject(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), '');
  if (open !== undefined) throw new Error(`${where} takes unknown fields at "${open}": declare it with z.strictObject`);
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
