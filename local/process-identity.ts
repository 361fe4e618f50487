import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What tells a process from a later one that was given the same id. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly command: string;
  /** Opaque; equal for the same process only. */
  readonly started: string;
}

/** The process that has this id now, if any (one that has ended and waits for its parent does not count). */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  try {
    return process.platform === 'linux' ? await fromProc(pid) : await fromPs(pid);
  } catch {
    return undefined;
  }
}

/** Whether the very process that was seen before still lives. */
export async function isAlive(seen: ProcessIdentity): Promise<boolean> {
  const now = await identify(seen.pid);
  return now !== undefined && now.started === seen.started;
}

/** Signals the very process that was seen before, and waits until it is gone; kills it after `graceMs`. */
export async function endProcess(seen: ProcessIdentity, signal: NodeJS.Signals, graceMs = 10_000): Promise<void> {
  if (!(await isAlive(seen))) return;
  send(seen.pid, signal);
  // A stopped process takes no signal but SIGKILL before it is continued.
  send(seen.pid, 'SIGCONT');
  const deadline = performance.now() + graceMs;
  while (await isAlive(seen)) {
    if (performance.now() > deadline) send(seen.pid, 'SIGKILL');
    await delay(20);
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has gone in the meantime.
  }
}

async function fromProc(pid: number): Promise<ProcessIdentity | undefined> {
  const [stat, cmdline] = await Promise.all([
    readFile(`/proc/${pid}/stat`, 'utf8'),
    readFile(`/proc/${pid}/cmdline`, 'utf8'),
  ]);
  // After the name in brackets, which may hold anything: state is the first field, the start in ticks since boot the twentieth.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  return { pid, command: cmdline.replaceAll('\0', ' ').trim(), started: fields[19]! };
}

async function fromPs(pid: number): Promise<ProcessIdentity | undefined> {
  const { stdout } = await run('ps', ['-o', 'stat=,lstart=,command=', '-p', `${pid}`], { env: { LC_ALL: 'C' } });
  const [, state, started, command] = stdout.match(/^(\S+)\s+(\w+ +\w+ +\d+ [\d:]+ \d+) (.*)/s) ?? [];
  if (!state || state.startsWith('Z')) return undefined;
  return { pid, command: command!.trim(), started: started! };
}
