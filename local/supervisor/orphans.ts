import { endProcess, identify, isAlive } from './process-identity.ts';
import { type Running, readRunning, removeRunning } from './running.ts';

/**
 * Stops the processes that a killed supervisor left running in this data directory. A process that has a recorded id
 * but another command line or start time is left alone: the id was reused.
 * @returns the names of the stopped processes
 */
export async function stopOrphans(dataDir: string): Promise<string[]> {
  const running = await readRunning(dataDir).catch(() => undefined);
  if (!running) return [];
  const orphans: string[] = [];
  for (const [name, process] of Object.entries(running.processes)) {
    if (await isOurs(process)) orphans.push(name);
  }
  // Killing is safe for all but the database, which would need crash recovery.
  await Promise.all(
    orphans.map((name) => endProcess(running.processes[name]!, name === 'postgres' ? 'SIGINT' : 'SIGKILL')),
  );
  removeRunning(dataDir);
  return orphans;
}

async function isOurs(recorded: Running['processes'][string]): Promise<boolean> {
  const now = await identify(recorded.pid);
  // `unshare` is replaced by the program that it starts, so the start of the recorded command line is missing.
  return now !== undefined && (await isAlive(recorded)) && recorded.command.endsWith(now.command);
}
