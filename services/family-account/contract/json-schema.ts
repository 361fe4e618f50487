import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { externalFamilyAccountEvent } from './external-event.ts';

export const jsonSchemaFile = new URL('external-events.schema.json', import.meta.url);

/** The contract as JSON Schema, for those who do not read TypeScript. */
export function jsonSchema(): string {
  return `${JSON.stringify(z.toJSONSchema(externalFamilyAccountEvent), undefined, 2)}\n`;
}

if (import.meta.main) writeFileSync(jsonSchemaFile, jsonSchema());
