import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Runs a short-lived program of the services and waits until it exits.
 * @param script path relative to the project
 * @throws Error with the program's output, if it fails
 */
export async function runScript(script: string, env: Record<string, string>, signal: AbortSignal): Promise<void> {
  const options = { cwd: join(import.meta.dirname, '../..'), env: { PATH: process.env.PATH, ...env }, signal };
  await run(process.execPath, [script], options).catch((error: Error & { stdout?: string; stderr?: string }) => {
    signal.throwIfAborted();
    throw new Error(`${script} failed: ${error.stderr || error.stdout || error.message}`);
  });
}
