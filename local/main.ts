import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { welcome } from './demo/hints.ts';
import { help, type Options, readOptions } from './options.ts';
import { Progress } from './progress.ts';
import { playStory } from './story.ts';
import { lock } from './supervisor/lock.ts';
import { stopOrphans } from './supervisor/orphans.ts';
import type { Running } from './supervisor/running.ts';
import { interruption } from './supervisor/signals.ts';
import { startSystem } from './topology/system.ts';

const options = optionsOrExit(process.argv.slice(2));
const progress = new Progress(process.stdout);
const { stop, force } = interruption();
process.exit(await main());

/** @returns the exit code */
async function main(): Promise<number> {
  const stack = new AsyncDisposableStack();
  try {
    await prepare(options, stack);
    stack.defer(() => progress.print('All processes stopped.'));
    const running = await startSystem({ options, progress, stack, stop, force });
    progress.print('All processes are ready.');
    const played = options.story ? await play(running) : true;
    if (options.once) return played ? 0 : 1;
    for (const line of welcome(running)) progress.line(line);
    if (!stop.aborted) await once(stop, 'abort');
    return isSignal(stop.reason) ? 0 : 1;
  } catch (error) {
    if (!stop.aborted) progress.print(`Start failed: ${(error as Error).message}`);
    return 1;
  } finally {
    if (stop.aborted && !isSignal(stop.reason))
      progress.print(`Unexpected error in the runner: ${inspect(stop.reason)}`);
    await stack.disposeAsync();
  }
}

function isSignal(reason: unknown): boolean {
  return typeof reason === 'string';
}

/** Locks the data directory, stops processes of a killed run, and deletes the data if `--fresh` was given. */
async function prepare({ dataDir, fresh }: Options, stack: AsyncDisposableStack): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  stack.use(lock(dataDir));
  const orphans = await stopOrphans(dataDir);
  if (orphans.length > 0) progress.print(`Stopped processes of a killed run: ${orphans.join(', ')}`);
  if (fresh) await reset(dataDir);
}

/** Deletes the files that the runner creates, and no others: the directory may be the user's own. */
async function reset(dataDir: string): Promise<void> {
  const created = [
    'postgres',
    'nats',
    'logs',
    'secrets.json',
    'dapr.yaml',
    'dapr-invocable.yaml',
    'dapr-names.db',
    'dapr-names.db-wal',
    'dapr-names.db-shm',
  ];
  await Promise.all(created.map((name) => rm(join(dataDir, name), { recursive: true, force: true })));
}

/** @returns whether the story succeeded */
async function play(running: Running): Promise<boolean> {
  const story = playStory(running, (line) => progress.line(line), { colour: progress.isTerminal });
  // Not awaited after Ctrl-C: the story may be waiting for a process that is stopping.
  const interrupted = once(stop, 'abort').then(() => Promise.reject(new Error('interrupted')));
  return Promise.race([story, interrupted]).then(
    () => true,
    (error: Error) => {
      progress.print(`The story failed: ${error.message}. Logs of all processes: ${join(options.dataDir, 'logs')}`);
      return false;
    },
  );
}

function optionsOrExit(args: string[]): Options {
  try {
    const parsed = readOptions(args);
    if (!parsed.help) return parsed;
    process.stdout.write(`${help}\n`);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}\n`);
    process.exit(2);
  }
}
