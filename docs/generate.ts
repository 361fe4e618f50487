import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from './architecture.ts';
import { chartReadme, charts, valuesSchema } from './charts.ts';
import { withTables } from './readme-tables.ts';

/** `npm run docs`: writes the pages that are made from the code. Tests fail while one is stale. */
const readme = join(import.meta.dirname, '../README.md');
writeFileSync(join(import.meta.dirname, 'architecture.md'), architecture());
writeFileSync(readme, withTables(readFileSync(readme, 'utf8')));
for (const chart of charts) {
  const folder = join(import.meta.dirname, '../charts', chart);
  writeFileSync(join(folder, 'README.md'), chartReadme(chart));
  writeFileSync(join(folder, 'values.schema.json'), valuesSchema(chart));
}
