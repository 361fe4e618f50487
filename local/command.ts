import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Runs one of the services' short-lived programs to its end.
 * @param script its path in this project
 * @throws what it printed, when it fails
 */
export async function runScript(script: string, env: Record<string, string>, signal: AbortSignal): Promise<void> {
  const options = { cwd: join(import.meta.dirname, '..'), env: { PATH: process.env.PATH, ...env }, signal };
  await run(process.execPath, [script], options).catch((error: Error & { stdout?: string; stderr?: string }) => {
    signal.throwIfAborted();
    throw new Error(`${script} has failed: ${error.stderr || error.stdout || error.message}`);
  });
}
