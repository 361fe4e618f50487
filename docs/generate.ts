import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from './architecture.ts';

/** `npm run docs`: writes the pages that are made from the code. Tests fail while one is stale. */
writeFileSync(join(import.meta.dirname, 'architecture.md'), architecture());
