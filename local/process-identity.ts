import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What tells a process from a later one that was given the same id. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly command: string;
  /** Opaque: the same for the same process only. */
  readonly started: string;
}

/** The process that has this id now, if any; one that has ended and waits for its parent does not count. */
export async function identify(pid: number): Promise<(ProcessIdentity & { readonly frozen: boolean }) | undefined> {
  try {
    return process.platform === 'linux' ? await fromProc(pid) : await fromPs(pid);
  } catch {
    return undefined;
  }
}

/** Whether the very process that was seen before still lives. */
export async function isAlive(seen: Pick<ProcessIdentity, 'pid' | 'started'>): Promise<boolean> {
  return (await identify(seen.pid))?.started === seen.started;
}

/** Signals the very process that was seen before and waits until it is gone; kills it after `graceMs`. */
export async function endProcess(
  seen: Pick<ProcessIdentity, 'pid' | 'started'>,
  signal: NodeJS.Signals,
  graceMs = 10_000,
): Promise<void> {
  if (!(await isAlive(seen))) return;
  send(seen.pid, signal);
  // A frozen process takes no signal but SIGKILL.
  send(seen.pid, 'SIGCONT');
  const deadline = performance.now() + graceMs;
  while (await isAlive(seen)) {
    if (performance.now() > deadline) send(seen.pid, 'SIGKILL');
    await delay(20);
  }
}

/** Signals a process, which may have gone already. */
export function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** A process and all that it has begun, the eldest first: PostgreSQL works in children, each in a session of its own. */
export async function family(pid: number): Promise<number[]> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=']);
  const all = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  const members = [pid];
  for (const elder of members) members.push(...all.filter(([, parent]) => parent === elder).map(([child]) => child!));
  return members;
}

async function fromProc(pid: number) {
  const read = (file: string) => readFile(`/proc/${file}`, 'utf8');
  const [stat, cmdline, boot] = await Promise.all([
    read(`${pid}/stat`),
    read(`${pid}/cmdline`),
    read('sys/kernel/random/boot_id'),
  ]);
  // After the name in brackets, which may hold anything: first the state, as twentieth the start in ticks since boot.
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
