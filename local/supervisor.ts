import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ManagedProcess, type ProcessSpec } from './managed-process.ts';
import type { RunningProcess } from './running.ts';

/** In the order in which they are ended: each uses those behind it until its last moment. */
export const layers = ['apps', 'sidecars', 'broker', 'database'] as const;

export type Layer = (typeof layers)[number];

/** Keeps a set of processes running, and ends them in order. */
export class Supervisor {
  readonly #logDir: string;
  readonly #say: (line: string) => void;
  readonly #changed: () => void;
  readonly #processes = new Map<ManagedProcess, Layer>();
  #stopped = false;

  /**
   * @param options.logDir gets a log file for each process
   * @param options.say takes each line for people
   * @param options.changed called whenever a process comes, goes or becomes ready
   */
  constructor(options: { logDir: string; say: (line: string) => void; changed: () => void }) {
    this.#logDir = options.logDir;
    this.#say = options.say;
    this.#changed = options.changed;
    mkdirSync(this.#logDir, { recursive: true, mode: 0o700 });
  }

  /** Starts a process and keeps it running; resolves when it is ready for the first time. @throws when it is stopped before */
  async start(layer: Layer, spec: ProcessSpec): Promise<void> {
    if (this.#stopped) throw new Error(`${spec.name} is not started any more`);
    const log = join(this.#logDir, `${spec.name}.log`);
    const managed = new ManagedProcess(spec, { log, say: this.#say, changed: this.#changed });
    this.#processes.set(managed, layer);
    await managed.start();
  }

  /** What runs, by name. */
  describe(): Record<string, RunningProcess> {
    return Object.fromEntries([...this.#processes.keys()].map((managed) => [managed.spec.name, managed.describe()]));
  }

  /** Ends everything in order; what does not end within 10 s is killed. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const layer of layers) await Promise.all(this.#in(layer).map((managed) => managed.stop()));
  }

  /** Ends everything at once. */
  kill(): void {
    for (const managed of this.#processes.keys()) managed.kill();
  }

  #in(layer: Layer): ManagedProcess[] {
    return [...this.#processes].flatMap(([managed, its]) => (its === layer ? [managed] : []));
  }
}
