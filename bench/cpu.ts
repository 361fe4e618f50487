import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

/**
 * Returns the CPU seconds that a process and its direct children have used so far, ended children included: for PostgreSQL,
 * those of all connections.
 * @returns undefined where there is no /proc
 */
export function cpuSeconds(pid: number): number | undefined {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    const own = ticks(pid, [11, 12, 13, 14]);
    return children.reduce((sum, child) => sum + ticksOfChild(Number(child)), own) / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}

function ticksOfChild(pid: number): number {
  try {
    return ticks(pid, [11, 12]);
  } catch {
    // It has ended, and counts as an ended child from now on.
    return 0;
  }
}

/** Sums fields of /proc/<pid>/stat, counted from the one after the name: 11 to 14 are user, system, and those of ended children. */
function ticks(pid: number, fields: readonly number[]): number {
  const values = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return fields.reduce((sum, field) => sum + Number(values[field]), 0);
}

/** Returns the resident memory of a process in MiB, or undefined where there is no /proc. */
export function residentMiB(pid: number): number | undefined {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
  } catch {
    return undefined;
  }
}

/**
 * Begins to count the CPU seconds of processes.
 * @returns a function that returns the CPU seconds per 1,000 events since then, by name of the process
 */
export function countCpu(
  pids: Readonly<Record<string, number>>,
): (events: number) => Record<string, number | undefined> {
  const before = Object.entries(pids).map(([name, pid]) => ({ name, pid, seconds: cpuSeconds(pid) }));
  return (events) =>
    Object.fromEntries(
      before.map(({ name, pid, seconds }) => {
        const now = cpuSeconds(pid);
        const isKnown = now !== undefined && seconds !== undefined;
        return [`CPU s per 1,000: ${name}`, isKnown ? ((now - seconds) * 1000) / events : undefined];
      }),
    );
}
