import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Writes the figure of the last `npm run coverage` into the README. */
const root = join(import.meta.dirname, '..');
const { total } = JSON.parse(readFileSync(join(root, '.data/coverage/coverage-summary.json'), 'utf8')) as {
  total: { lines: { pct: number } };
};
const readme = join(root, 'README.md');
const text = readFileSync(readme, 'utf8');
const sentence = /cover \d+ % of the lines/;
if (!sentence.test(text)) throw new Error(`README.md has no sentence that matches ${sentence}`);
writeFileSync(readme, text.replace(sentence, `cover ${Math.floor(total.lines.pct)} % of the lines`));
