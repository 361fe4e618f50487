import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chart, type Theme } from './chart.ts';
import { PARTS, type Part } from './options.ts';
import type { Group, Report } from './report.ts';

/** The folder of the committed results. */
export const results = join(import.meta.dirname, 'results');

export const resultsFile = (part: Part): string => join(results, `${part}.json`);

/** Reads the results of a part. @returns undefined when there are none */
export function readReport(part: Part, file = resultsFile(part)): Report | undefined {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report) : undefined;
}

/** Returns the pictures of all results, by file name: one per part, and a summary of the rows with aims. */
export function charts(): Record<string, string> {
  const reports = PARTS.flatMap((part) => readReport(part) ?? []);
  const summary = { part: 'summary', groups: [summaryOf(reports)] };
  const pictures = [...reports, summary].flatMap((report) =>
    (['light', 'dark'] as const).map((theme: Theme) => [`${report.part}-${theme}.svg`, chart(report, theme)]),
  );
  return Object.fromEntries(pictures);
}

export function writeCharts(): void {
  for (const [name, svg] of Object.entries(charts())) writeFileSync(join(results, name), svg);
}

/** Returns the ratios of all rows with aims. */
export function summaryOf(reports: readonly Report[]): Group {
  const rows = reports.flatMap(({ groups }) =>
    groups.flatMap(({ title, rows }) =>
      rows.flatMap(({ name, ratio, aim }) =>
        ratio === undefined || aim === undefined
          ? []
          : [{ name: `${title}: ${name}`, median: ratio, min: ratio, max: ratio, aim, details: {} }],
      ),
    ),
  );
  return { title: 'This project’s rates', unit: 'of the floor of each; the marks are the aims', rows };
}
