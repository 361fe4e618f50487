import type { Report } from './report.ts';

/** How much smaller a ratio may be than the committed one: on a shared machine, ratios move by a tenth between runs. */
export const TOLERANCE = 0.2;

/** A row whose ratio is below the committed one. */
export interface Miss {
  readonly part: string;
  readonly group: string;
  readonly row: string;
  readonly committed: number;
  readonly measured: number;
}

/** Compares a run with the committed results. Rows that only one of them has, such as peers, are not compared. */
export function misses(committed: Report, measured: Report): Miss[] {
  return committed.groups.flatMap((group) => {
    const rows = measured.groups.find(({ title }) => title === group.title)?.rows;
    return group.rows.flatMap(({ name, ratio }) => {
      const found = rows?.find((row) => row.name === name)?.ratio;
      if (ratio === undefined || found === undefined || found >= ratio * (1 - TOLERANCE)) return [];
      return [{ part: committed.part, group: group.title, row: name, committed: ratio, measured: found }];
    });
  });
}

/** Returns the misses of the second run that the first one had as well: one alone may be the machine's doing. */
export function missedTwice(first: readonly Miss[], second: readonly Miss[]): Miss[] {
  return second.filter((miss) =>
    first.some((it) => it.part === miss.part && it.group === miss.group && it.row === miss.row),
  );
}
