import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { welcome } from './hints.ts';
import { interruption } from './interruption.ts';
import { endLeftovers } from './leftovers.ts';
import { lock } from './lock.ts';
import { help, type Options, readOptions } from './options.ts';
import { Progress } from './progress.ts';
import type { Running } from './running.ts';
import { playStory } from './story.ts';
import { startSystem } from './system.ts';

const options = optionsOrExit(process.argv.slice(2));
const progress = new Progress(process.stdout);
const { stop, force } = interruption();
process.exit(await main());

/** @returns the exit code */
async function main(): Promise<number> {
  const stack = new AsyncDisposableStack();
  try {
    await makeReady(options, stack);
    stack.defer(() => progress.say('Everything has stopped.'));
    const running = await startSystem({ options, progress, stack, stop, force });
    progress.say('All is ready.');
    const played = options.story ? await play(running) : true;
    if (options.once) return played ? 0 : 1;
    for (const line of welcome(running)) progress.line(line);
    if (!stop.aborted) await once(stop, 'abort');
    return isSignal(stop.reason) ? 0 : 1;
  } catch (error) {
    if (!stop.aborted) progress.say(`It does not start. ${(error as Error).message}`);
    return 1;
  } finally {
    if (stop.aborted && !isSignal(stop.reason)) progress.say(`An error in the runner itself: ${inspect(stop.reason)}`);
    await stack.disposeAsync();
  }
}

function isSignal(reason: unknown): boolean {
  return typeof reason === 'string';
}

/** Takes the data directory, and ends and removes there what is in the way. */
async function makeReady({ dataDir, fresh }: Options, stack: AsyncDisposableStack): Promise<void> {
  await mkdir(dataDir, { recursive: true });
  stack.use(lock(dataDir));
  const left = await endLeftovers(dataDir);
  if (left.length > 0) progress.say(`Ended what a killed run had left: ${left.join(', ')}`);
  if (fresh) await forget(dataDir);
}

/** What the runner has made, and nothing else that may lie there. */
async function forget(dataDir: string): Promise<void> {
  const mine = [
    'postgres',
    'nats',
    'logs',
    'secrets.json',
    'dapr.yaml',
    'dapr-names.db',
    'dapr-names.db-wal',
    'dapr-names.db-shm',
  ];
  await Promise.all(mine.map((name) => rm(join(dataDir, name), { recursive: true, force: true })));
}

/** @returns whether the story came to its end */
async function play(running: Running): Promise<boolean> {
  const story = playStory(running, (line) => progress.line(line), { colour: progress.isTerminal });
  // Whatever becomes of it once the system is being stopped, nobody waits for it.
  const interrupted = once(stop, 'abort').then(() => Promise.reject(new Error('it was interrupted')));
  return Promise.race([story, interrupted]).then(
    () => true,
    (error: Error) => {
      progress.say(
        `The story has failed: ${error.message}. What each process has said is in ${join(options.dataDir, 'logs')}.`,
      );
      return false;
    },
  );
}

function optionsOrExit(args: string[]): Options {
  try {
    const read = readOptions(args);
    if (!read.help) return read;
    process.stdout.write(`${help}\n`);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${help}\n`);
    process.exit(2);
  }
}
