import { spawn } from 'node:child_process';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Progress } from '../progress.ts';
import { send } from '../supervisor/process-identity.ts';
import type { Program } from './programs.ts';

/** Returns the folder of a Go module of this project. */
export function moduleFolder(name: string): string {
  return join(import.meta.dirname, '../../tools', name);
}

/**
 * Builds the program from its pinned Go module and moves it to `target` atomically.
 * @throws Error with Go's output, or if Go is not installed
 */
export async function goBuild(
  { name, build }: Program,
  target: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const unfinished = `${target}.${process.pid}`;
  const since = performance.now();
  const seconds = () => ((performance.now() - since) / 1000).toFixed(0);
  const timer = setInterval(
    () =>
      progress.live(`building ${name} ${build.version} with Go, ${seconds()} s (takes some minutes the first time)`),
    1000,
  );
  try {
    await go(['build', '-trimpath', '-buildvcs=false', '-o', unfinished, ...build.arguments], build.module, signal);
    await rename(unfinished, target);
    progress.print(`${name} ${build.version} built with Go (${seconds()} s)`);
  } finally {
    clearInterval(timer);
    progress.endLive();
    await rm(unfinished, { force: true });
  }
}

async function go(args: string[], module: string, signal: AbortSignal): Promise<void> {
  const child = spawn('go', args, {
    cwd: moduleFolder(module),
    env: { ...process.env, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  let [output, isMissing] = ['', false];
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-2000);
  });
  child.once('error', () => {
    isMissing = true;
  });
  // Signals the process group: Go leaves the compilers that it started running.
  const interrupt = () => child.pid && send(-child.pid, 'SIGINT');
  signal.addEventListener('abort', interrupt);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  signal.removeEventListener('abort', interrupt);
  if (isMissing) throw new Error('Go is not installed');
  if (code !== 0) throw new Error(`go build failed: ${output.trim()}`);
}
