import { endProcess, identify, isAlive } from './process-identity.ts';
import { type Running, readRunning, removeRunning } from './running.ts';

/**
 * Ends what a supervisor that was killed has left running in this data directory. Only processes that are certainly the same: a process of
 * that id which has another command line, or was started at another time, is somebody else's.
 * @returns the names of those that were ended
 */
export async function endLeftovers(dataDir: string): Promise<string[]> {
  const running = await readRunning(dataDir).catch(() => undefined);
  if (!running) return [];
  const left: string[] = [];
  for (const [name, process] of Object.entries(running.processes)) {
    if (await isOurs(process)) left.push(name);
  }
  // A server loses nothing when it is killed; a database would have to recover.
  await Promise.all(
    left.map((name) => endProcess(running.processes[name]!, name === 'postgres' ? 'SIGINT' : 'SIGKILL')),
  );
  removeRunning(dataDir);
  return left;
}

async function isOurs(seen: Running['processes'][string]): Promise<boolean> {
  const now = await identify(seen.pid);
  // What runs in a namespace has dropped the words that led there from the front of its command line.
  return now !== undefined && (await isAlive(seen)) && seen.command.endsWith(now.command);
}
