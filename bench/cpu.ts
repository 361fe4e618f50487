import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100;

/**
 * Returns the CPU seconds that a process has used so far; for PostgreSQL, those of all its connections, ended ones included.
 * @returns undefined where there is no /proc
 */
function cpuSeconds(pid: number): number | undefined {
  try {
    if (readFileSync(`/proc/${pid}/comm`, 'utf8') !== 'postgres\n') return ticks(pid, [11, 12]) / TICKS_PER_SECOND;
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
export const residentMiB = (pid: number): number | undefined => memoryOf(pid, 'VmRSS');

/** Returns the largest resident memory of a process so far in MiB, or undefined where there is no /proc. */
export const largestMiB = (pid: number): number | undefined => memoryOf(pid, 'VmHWM');

function memoryOf(pid: number, field: string): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)![1]) / 1024;
  } catch {
    return undefined;
  }
}

/**
 * Begins to count the CPU seconds of processes.
 * @param pids process ids by name
 * @returns a function that returns the CPU seconds per 1,000 events since then, by name, and of all
 */
export function countCpu(
  pids: Readonly<Record<string, readonly number[]>>,
): (events: number) => Record<string, number | undefined> {
  const read = () =>
    Object.values(pids).map((all) => all.reduce((sum, pid) => sum + (cpuSeconds(pid) ?? Number.NaN), 0));
  const before = read();
  return (events) => {
    const used = read().map((seconds, index) => ((seconds - before[index]!) * 1000) / events);
    const known = (seconds: number) => (Number.isNaN(seconds) ? undefined : seconds);
    const each = Object.keys(pids).map((name, index) => [`CPU s per 1,000: ${name}`, known(used[index]!)]);
    const all = used.reduce((sum, seconds) => sum + seconds, 0);
    return { 'CPU s per 1,000': known(all), ...Object.fromEntries(each) };
  };
}
