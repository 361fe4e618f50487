import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Identifies a process. The id alone is not enough: it is reused after the process has exited. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly command: string;
  /** Start time in the format of the platform; compare for equality only. */
  readonly started: string;
}

/** Returns the process that has this id now, if any; zombies do not count. */
export async function identify(pid: number): Promise<(ProcessIdentity & { readonly frozen: boolean }) | undefined> {
  try {
    return process.platform === 'linux' ? await fromProc(pid) : await fromPs(pid);
  } catch {
    return undefined;
  }
}

/** Whether exactly this process still runs. */
export async function isAlive(seen: Pick<ProcessIdentity, 'pid' | 'started'>): Promise<boolean> {
  return (await identify(seen.pid))?.started === seen.started;
}

/** Signals exactly this process and waits until it has exited; kills it after `graceMs` (default 10 s). */
export async function endProcess(
  seen: Pick<ProcessIdentity, 'pid' | 'started'>,
  signal: NodeJS.Signals,
  graceMs = 10_000,
): Promise<void> {
  if (!(await isAlive(seen))) return;
  send(seen.pid, signal);
  // A frozen process handles no signal but SIGKILL.
  send(seen.pid, 'SIGCONT');
  const deadline = performance.now() + graceMs;
  while (await isAlive(seen)) {
    if (performance.now() > deadline) send(seen.pid, 'SIGKILL');
    await delay(20);
  }
}

/** Signals a process; does nothing if it has exited. */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/**
 * Returns the ids of a process and its descendants, parents first. The process group would not do: each child of
 * PostgreSQL has its own session.
 */
export async function processTree(pid: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
  const all = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const members = [pid];
  for (const member of members) members.push(...all.filter(([, parent]) => parent === member).map(([child]) => child!));
  return members;
}

async function fromProc(pid: number) {
  const read = (file: string) => readFile(`/proc/${file}`, 'utf8');
  const [stat, cmdline, boot] = await Promise.all([
    read(`${pid}/stat`),
    read(`${pid}/cmdline`),
    read('sys/kernel/random/boot_id'),
  ]);
  // Fields after the bracketed name, which may contain any character: 1st the state, 20th the start in ticks since
  // boot.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0]!;
  if (state === 'Z' || state === 'X') return undefined;
  const command = cmdline.replaceAll('\0', ' ').trim();
  return { pid, command, started: `${fields[19]} ${boot.trim()}`, frozen: state === 'T' };
}

async function fromPs(pid: number) {
  const env = { ...process.env, LC_ALL: 'C' };
  const { stdout } = await run('ps', ['-ww', '-o', 'stat=,lstart=,command=', '-p', `${pid}`], { env });
  const [, state, started, command] = stdout.match(/^\s*(\S+)\s+(\w+ +\w+ +\d+ [\d:]+ \d+) +(.*)/s) ?? [];
  if (!state || state.startsWith('Z')) return undefined;
  return { pid, command: command!.trim(), started: started!, frozen: state.startsWith('T') };
}
