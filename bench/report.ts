import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Progress } from '../local/progress.ts';
import { commitOf, machine } from './harness.ts';
import { median, ratioWithinRounds } from './statistics.ts';

/** One measured way of doing something. */
export interface Row {
  readonly name: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** To the group's base, within rounds. */
  readonly ratio?: number;
  /** The ratio that it should reach. */
  readonly aim?: number;
  /** Other figures, such as CPU seconds; medians. */
  readonly details: Readonly<Record<string, number>>;
}

/** Ways that were measured in turns. */
export interface Group {
  readonly title: string;
  readonly unit: string;
  /** The row that ratios refer to. Only where more is better: `--check` treats a lower ratio as a miss. */
  readonly base?: string;
  /** Names of the rows that are other products. */
  readonly peers?: readonly string[];
  readonly rows: readonly Row[];
}

/** What one part of the bench measured. */
export interface Report {
  readonly part: string;
  readonly date: string;
  readonly commit: string;
  readonly machine: string;
  readonly rounds: number;
  /** How it was measured, in one sentence. */
  readonly method: string;
  readonly groups: readonly Group[];
}

export interface Sample {
  readonly value: number;
  readonly details?: Readonly<Record<string, number | undefined>>;
}

/** Collects the samples of ways that are measured in turns. */
export class Turns {
  readonly #samples = new Map<string, Sample[]>();

  add(name: string, sample: Sample): void {
    this.#samples.set(name, [...(this.#samples.get(name) ?? []), sample]);
  }

  /** @param aims ratios to `base` that rows should reach, by name */
  group(options: Omit<Group, 'rows'>, aims: Readonly<Record<string, number>> = {}): Group {
    const values = (name: string) => this.#samples.get(name)!.map(({ value }) => value);
    const { base } = options;
    const rows = [...this.#samples].map(([name, samples]): Row => {
      const all = values(name);
      const names = new Set(samples.flatMap(({ details = {} }) => Object.keys(details)));
      const details = [...names].flatMap((it) => {
        const known = samples.flatMap((sample) => sample.details?.[it] ?? []);
        return known.length > 0 ? [[it, median(known)]] : [];
      });
      return {
        name,
        median: median(all),
        min: Math.min(...all),
        max: Math.max(...all),
        ...(base !== undefined && { ratio: ratioWithinRounds(all, values(base)) }),
        ...(aims[name] !== undefined && { aim: aims[name] }),
        details: Object.fromEntries(details),
      };
    });
    return { ...options, rows };
  }
}

/** Prints the results of a part, and writes them as JSON to the file that BENCH_REPORT names, if it does. */
export function report(
  progress: Progress,
  { part, rounds, method, groups }: Pick<Report, 'part' | 'rounds' | 'method' | 'groups'>,
): void {
  const date = new Date().toISOString().slice(0, 10);
  const result: Report = { part, date, commit: commitOf(), machine: machine(), rounds, method, groups };
  progress.line(`\n${result.machine}; ${method}\n\n${groups.map(table).join('\n\n')}\n`);
  const file = process.env.BENCH_REPORT;
  if (!file) return;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(rounded(result), null, 2)}\n`);
}

/** Formats a group as a Markdown table. */
export function table({ title, unit, base, rows }: Group): string {
  const details = [...new Set(rows.flatMap((row) => Object.keys(row.details)))];
  const head = [title, unit, 'range', ...(base ? [`of ${base}`, 'aim'] : []), ...details];
  const lines = rows.map(({ name, median, min, max, ratio, aim, details: given }) => [
    name,
    shown(median),
    min === max ? '' : `${shown(min)} to ${shown(max)}`,
    ...(base ? [ratio?.toFixed(2) ?? '', aim?.toFixed(2) ?? ''] : []),
    ...details.map((it) => (given[it] === undefined ? '' : shown(given[it]))),
  ]);
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Formats a number with three significant digits, and thousands in full. */
export function shown(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return `${Number(value.toPrecision(3))}`;
}

const rounded = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_, it) => (typeof it === 'number' ? Number(it.toPrecision(4)) : it)));
