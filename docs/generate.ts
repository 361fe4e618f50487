import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { architecture } from './architecture.ts';
import { chartReadme, charts, valuesSchema } from './charts.ts';
import { apiPage, configurationPage } from './reference.ts';

/** `npm run docs`: writes the generated pages. Tests fail while one is outdated. */
for (const [page, text] of Object.entries({
  'architecture.md': architecture(),
  'api.md': apiPage(),
  'configuration.md': configurationPage(),
}))
  writeFileSync(join(import.meta.dirname, page), text);
for (const chart of charts) {
  const folder = join(import.meta.dirname, '../charts', chart);
  writeFileSync(join(folder, 'README.md'), chartReadme(chart));
  writeFileSync(join(folder, 'values.schema.json'), valuesSchema(chart));
}
