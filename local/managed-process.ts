import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { lastWords } from './logs.ts';
import { identify, send } from './process-identity.ts';
import type { RunningProcess } from './running.ts';

/** What to run, and how to tell that it works. */
export interface ProcessSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly ports: Readonly<Record<string, number>>;
  /** What to say of it once it is ready, such as `listens on port 8080`. */
  readonly says: string;
  /** Asked again and again after each start, until it answers true; an error means not yet. */
  readonly isReady: () => Promise<boolean>;
  /** How it is told to end, SIGTERM unless told; what has not ended 10 s later is killed. */
  readonly stopSignal?: RunningProcess['stopSignal'];
}

const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS, STABLE_AFTER_MS, GRACE_MS] = [200, 10_000, 10_000, 10_000];

/** A process that is kept running: what dies is started again, after a pause that doubles while it keeps dying, as a kubelet would. */
export class ManagedProcess {
  readonly spec: ProcessSpec;
  readonly #log: string;
  readonly #say: (line: string) => void;
  readonly #changed: () => void;
  readonly #stopping = new AbortController();
  readonly #ready = Promise.withResolvers<void>();
  #now: Omit<RunningProcess, 'ports' | 'log' | 'stopSignal'> = {
    pid: 0,
    command: '',
    started: '',
    state: 'waiting',
    restarts: 0,
  };
  #child: ChildProcess | undefined;
  #life: Promise<void> = Promise.resolve();

  /**
   * @param options.log the file that its output is appended to
   * @param options.say takes a line for people, when it dies and when it is back
   * @param options.changed called at each change of what `describe` answers
   */
  constructor(spec: ProcessSpec, options: { log: string; say: (line: string) => void; changed: () => void }) {
    this.spec = spec;
    this.#log = options.log;
    this.#say = options.say;
    this.#changed = options.changed;
  }

  describe(): RunningProcess {
    const { ports, stopSignal = 'SIGTERM' } = this.spec;
    return { ...this.#now, ports: { ...ports }, stopSignal, log: this.#log };
  }

  /** Starts it and keeps it running until `stop`; resolves when it is ready for the first time. @throws when it is stopped before */
  start(): Promise<void> {
    this.#life = this.#live();
    return this.#ready.promise;
  }

  /** Ends it in good order and for good; kills it when that takes more than 10 s. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#signal(this.spec.stopSignal ?? 'SIGTERM');
    // A frozen process takes no other signal.
    this.#signal('SIGCONT');
    const timer = setTimeout(() => this.kill(), GRACE_MS);
    await this.#life;
    clearTimeout(timer);
  }

  /** Ends it at once and for good. */
  kill(): void {
    this.#stopping.abort();
    this.#signal('SIGKILL');
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child?.pid && this.#child.exitCode === null && this.#child.signalCode === null) {
      send(this.#child.pid, signal);
    }
  }

  async #live(): Promise<void> {
    const { signal } = this.#stopping;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const since = performance.now();
      const how = await this.#run();
      if (signal.aborted) break;
      if (performance.now() - since > STABLE_AFTER_MS) pause = FIRST_PAUSE_MS;
      this.#say(`${this.spec.name} has ended (${how}) and is started again in ${pause / 1000} s`);
      this.#become({ state: 'waiting', restarts: this.#now.restarts + 1 });
      await delay(pause, undefined, { signal }).catch(() => undefined);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
    this.#become({ state: 'ended' });
    this.#ready.reject(new Error(`${this.spec.name} was stopped`));
  }

  /** One life of it; answers how it ended. */
  async #run(): Promise<string> {
    const child = this.#spawn();
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | string | null]>((resolve) => {
      child.once('exit', (...how) => resolve(how)).once('error', ({ message }) => resolve([null, message]));
      void this.#settle(child);
    });
    this.#child = undefined;
    if (signal) return signal;
    return code === 0 ? 'exit 0' : `exit ${code}: ${await lastWords(this.#log)}`;
  }

  #spawn(): ChildProcess {
    const { command, env, cwd, user } = this.spec;
    const output = openSync(this.#log, 'a', 0o600);
    // In a process group of its own, so that Ctrl-C reaches the supervisor alone, which then ends everything in order.
    const child = spawn(command[0]!, command.slice(1), {
      detached: true,
      env: { ...inherited(), ...env },
      cwd,
      ...user,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    this.#child = child;
    return child;
  }

  /** Notes who it is, and waits until it is ready or has ended. */
  async #settle(child: ChildProcess): Promise<void> {
    if (!child.pid) return;
    const started = (await identify(child.pid))?.started ?? '';
    if (this.#child !== child) return;
    this.#become({ pid: child.pid, command: this.spec.command.join(' '), started, state: 'starting' });
    while (this.#child === child && !(await this.spec.isReady().catch(() => false))) await delay(50);
    if (this.#child !== child || this.#stopping.signal.aborted) return;
    if (this.#now.restarts > 0) this.#say(`${this.spec.name} is back`);
    this.#become({ state: 'running' });
    this.#ready.resolve();
  }

  #become(change: Partial<Omit<RunningProcess, 'ports' | 'log' | 'stopSignal'>>): void {
    this.#now = { ...this.#now, ...change };
    this.#changed();
  }
}

/** Nothing else of the caller's environment: it may hold settings for other programs that go by the same names. */
function inherited(): Record<string, string> {
  const system = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'NODE_OPTIONS'];
  const names = [...system, 'LOG_LEVEL', 'RESEND_AFTER_SECONDS', 'SILENCE_SECONDS', 'REPAIR_AFTER_SECONDS'];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}
