import { spawn } from 'node:child_process';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { send } from './process-identity.ts';
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
    detached: true,
  });
  let [said, notThere] = ['', false];
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2000);
  });
  child.once('error', () => {
    notThere = true;
  });
  // To its process group: Go does not end the compilers that it has started.
  const interrupt = () => child.pid && send(-child.pid, 'SIGINT');
  signal.addEventListener('abort', interrupt);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  signal.removeEventListener('abort', interrupt);
  if (notThere) throw new Error('Go is not installed');
  if (code !== 0) throw new Error(`go build fails: ${said.trim()}`);
}
