import { join } from 'node:path';
import type { Options } from '../options.ts';
import type { Progress } from '../progress.ts';
import { tail } from '../supervisor/logs.ts';
import type { ProcessSpec } from '../supervisor/managed-process.ts';
import { runScript } from '../supervisor/run-script.ts';
import { type Running, removeRunning, writeRunning } from '../supervisor/running.ts';
import { type Layer, Supervisor } from '../supervisor/supervisor.ts';
import { makePlan, type Plan } from './plan.ts';
import { createSystem } from './postgres.ts';

const START_TIMEOUT_MS = 90_000;

export interface Start {
  readonly options: Options;
  readonly progress: Progress;
  /** Receives the steps of the shutdown, in order. */
  readonly stack: AsyncDisposableStack;
  /** Aborts the start. */
  readonly stop: AbortSignal;
  /** Kills all processes. */
  readonly force: AbortSignal;
}

/**
 * Starts both systems, prints a line of progress per process, and keeps `running.json` up to date while they run.
 * @returns the state of the system, once all processes are ready
 * @throws Error naming the processes that are not ready after 90 s, with the end of their logs
 */
export async function startSystem({ options, progress, stack, stop, force }: Start): Promise<Running> {
  const plan = await makePlan(options, progress, stack, stop);
  const { dataDir } = options;
  const running = (): Running => ({ ...plan.running, processes: supervisor.describe() });
  const supervisor = new Supervisor({
    logDir: join(dataDir, 'logs'),
    print: (line) => progress.print(line),
    changed: () => writeRunning(dataDir, running()),
  });
  stack.defer(() => removeRunning(dataDir));
  stack.defer(() => {
    progress.print('Stopping apps, then sidecars, broker and database');
    return supervisor.stop();
  });
  force.addEventListener('abort', () => supervisor.kill());
  stop.throwIfAborted();
  await inTime(startAll(plan, supervisor, progress, stop), stop, running);
  return running();
}

/** Starts independent processes concurrently. */
async function startAll(plan: Plan, supervisor: Supervisor, progress: Progress, stop: AbortSignal): Promise<void> {
  const start = async (layer: Layer, spec: ProcessSpec) => {
    const since = performance.now();
    await supervisor.start(layer, spec);
    progress.print(`${spec.name} ${spec.summary} (${((performance.now() - since) / 1000).toFixed(1)} s)`);
  };
  const startLayer = (layer: Layer) =>
    Promise.all(plan.placed.filter((it) => it.layer === layer).map(({ spec }) => start(layer, spec)));
  await Promise.all([
    start('database', plan.postgres)
      .then(() => migrate(plan, progress, stop))
      .then(() => startLayer('apps')),
    start('broker', plan.broker).then(() => startLayer('sidecars')),
  ]);
}

async function migrate({ systems, running }: Plan, progress: Progress, stop: AbortSignal): Promise<void> {
  const since = performance.now();
  const { superuser, member, familyAccount } = running.databases;
  for (const system of Object.values(systems)) await createSystem(superuser, system);
  const prepare = async (service: string, { owner, housekeeping }: Running['databases']['member']): Promise<void> => {
    await runScript(`services/${service}/migrate.ts`, { DATABASE_URL: owner }, stop);
    await runScript('ops/housekeeping/main.ts', { DATABASE_URL: housekeeping }, stop);
  };
  await Promise.all([prepare('member', member), prepare('family-account', familyAccount)]);
  progress.print(`databases migrated (${((performance.now() - since) / 1000).toFixed(1)} s)`);
}

async function inTime(start: Promise<void>, stop: AbortSignal, running: () => Running): Promise<void> {
  const timeout = AbortSignal.timeout(START_TIMEOUT_MS);
  const ended = new Promise<never>((_, reject) => {
    for (const signal of [stop, timeout]) signal.addEventListener('abort', () => reject(signal.reason));
  });
  try {
    await Promise.race([start, ended]);
  } catch (error) {
    if (!timeout.aborted || stop.aborted) throw error;
    const pending = Object.entries(running().processes).filter(([, { state }]) => state !== 'running');
    const logs = await Promise.all(pending.map(async ([name, { log }]) => `--- ${name} (${log})\n${await tail(log)}`));
    throw new Error(`Processes not started after ${START_TIMEOUT_MS / 1000} s:\n${logs.join('\n')}`);
  }
}
