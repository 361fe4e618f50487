import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ManagedProcess, type ProcessSpec } from './managed-process.ts';
import type { RunningProcess } from './running.ts';

/** In the order of stopping: each layer uses the layers after it until it has exited. */
export const layers = ['apps', 'sidecars', 'broker', 'database'] as const;

export type Layer = (typeof layers)[number];

/** Keeps a set of processes running and stops them in order. */
export class Supervisor {
  readonly #logDir: string;
  readonly #print: (line: string) => void;
  readonly #changed: () => void;
  readonly #processes = new Map<ManagedProcess, Layer>();
  #stopped = false;

  /**
   * @param options.logDir directory for one log file per process
   * @param options.print called with each line for the terminal
   * @param options.changed called when a process starts, exits or becomes ready
   */
  constructor(options: { logDir: string; print: (line: string) => void; changed: () => void }) {
    this.#logDir = options.logDir;
    this.#print = options.print;
    this.#changed = options.changed;
    mkdirSync(this.#logDir, { recursive: true, mode: 0o700 });
  }

  /** Starts a process and keeps it running; resolves when it is first ready. @throws Error if it is stopped before */
  async start(layer: Layer, spec: ProcessSpec): Promise<void> {
    if (this.#stopped) throw new Error(`${spec.name} is not started: the supervisor is stopping`);
    const log = join(this.#logDir, `${spec.name}.log`);
    const managed = new ManagedProcess(spec, { log, print: this.#print, changed: this.#changed });
    this.#processes.set(managed, layer);
    await managed.start();
  }

  /** Returns the state of all processes, by name. */
  describe(): Record<string, RunningProcess> {
    return Object.fromEntries([...this.#processes.keys()].map((managed) => [managed.spec.name, managed.describe()]));
  }

  /** Stops all processes, layer by layer; kills those that run 10 s after their signal. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const layer of layers) await Promise.all(this.#in(layer).map((managed) => managed.stop()));
  }

  /** Kills all processes. */
  kill(): void {
    for (const managed of this.#processes.keys()) managed.kill();
  }

  #in(layer: Layer): ManagedProcess[] {
    return [...this.#processes].flatMap(([managed, placed]) => (placed === layer ? [managed] : []));
  }
}
