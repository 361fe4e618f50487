import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Program } from './programs.ts';
import type { Progress } from './progress.ts';

/** The folder of a Go module of this project. */
export function moduleFolder(name: string): string {
  return join(import.meta.dirname, '../tools', name);
}

/**
 * Builds the program from its pinned Go module, and puts it at `target`, which comes into being whole or not at all.
 * @throws what Go said, or that there is no Go
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
      progress.live(`${name} ${build.version} is being built with Go, ${seconds()} s (some minutes, the first time)`),
    1000,
  );
  try {
    await go(['build', '-trimpath', '-buildvcs=false', '-o', unfinished, ...build.arguments], build.module, signal);
    await rename(unfinished, target);
    progress.say(`${name} ${build.version} is built with Go (${seconds()} s)`);
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
    signal,
    // Go then ends its compilers as well.
    killSignal: 'SIGINT',
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000);
  });
  let failure: NodeJS.ErrnoException | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  // Also after an error: when it is interrupted, Go has files to remove first.
  const [code] = await once(child, 'close');
  if (failure) throw failure.code === 'ENOENT' ? new Error('Go is not installed') : failure;
  if (code !== 0) throw new Error(`go build fails: ${said.trim()}`);
}
