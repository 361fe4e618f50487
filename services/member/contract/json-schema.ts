import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { externalMemberEvent } from './external-event.ts';

export const jsonSchemaFile = new URL('external-events.schema.json', import.meta.url);

/** The contract as JSON Schema, for those who do not read TypeScript. */
export const jsonSchema = z.toJSONSchema(externalMemberEvent);

if (import.meta.main) writeFileSync(jsonSchemaFile, `${JSON.stringify(jsonSchema, undefined, 2)}\n`);
