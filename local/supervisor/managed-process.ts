import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { lastLines } from './logs.ts';
import { identify, send } from './process-identity.ts';
import type { RunningProcess } from './running.ts';

/** How to run a process and how to check that it is ready. */
export interface ProcessSpec {
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly ports: Readonly<Record<string, number>>;
  /** Printed after the name when the process is ready, such as `listens on port 8080`. */
  readonly summary: string;
  /** Polled after each start until it returns true; an error counts as not ready. */
  readonly isReady: () => Promise<boolean>;
  /** Signal for a graceful stop (default SIGTERM); a process that runs 10 s later is killed. */
  readonly stopSignal?: RunningProcess['stopSignal'];
}

const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS, STABLE_AFTER_MS, GRACE_MS] = [200, 10_000, 10_000, 10_000];

/**
 * Runs a process and restarts it when it exits, with a delay that doubles while it keeps failing, as a kubelet does.
 */
export class ManagedProcess {
  readonly spec: ProcessSpec;
  readonly #log: string;
  readonly #print: (line: string) => void;
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
  #ended: Promise<void> = Promise.resolve();

  /**
   * @param options.log file that the output is appended to
   * @param options.print called with a line for the terminal when the process exits and when it is restarted
   * @param options.changed called when the result of `describe` changes
   */
  constructor(spec: ProcessSpec, options: { log: string; print: (line: string) => void; changed: () => void }) {
    this.spec = spec;
    this.#log = options.log;
    this.#print = options.print;
    this.#changed = options.changed;
  }

  /** Returns the entry of this process for `running.json`. */
  describe(): RunningProcess {
    const { ports, stopSignal = 'SIGTERM' } = this.spec;
    return { ...this.#now, ports: { ...ports }, stopSignal, log: this.#log };
  }

  /**
   * Starts the process and keeps it running until `stop`. Resolves when it is first ready.
   * @throws Error if it is stopped before
   */
  start(): Promise<void> {
    this.#ended = this.#superviseUntilEnd();
    return this.#ready.promise;
  }

  /** Stops the process gracefully, without a restart; kills it after 10 s. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#signal(this.spec.stopSignal ?? 'SIGTERM');
    // A frozen process handles the signal above only after SIGCONT.
    this.#signal('SIGCONT');
    const timer = setTimeout(() => this.kill(), GRACE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Kills the process, without a restart. */
  kill(): void {
    this.#stopping.abort();
    this.#signal('SIGKILL');
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child?.pid && this.#child.exitCode === null && this.#child.signalCode === null) {
      send(this.#child.pid, signal);
    }
  }

  async #superviseUntilEnd(): Promise<void> {
    const { signal } = this.#stopping;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const since = performance.now();
      const exit = await this.#run();
      if (signal.aborted) break;
      if (performance.now() - since > STABLE_AFTER_MS) pause = FIRST_PAUSE_MS;
      this.#print(`${this.spec.name} exited (${exit}), restarting in ${pause / 1000} s`);
      this.#become({ state: 'waiting', restarts: this.#now.restarts + 1 });
      await delay(pause, undefined, { signal }).catch(() => undefined);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
    this.#become({ state: 'ended' });
    this.#ready.reject(new Error(`${this.spec.name} was stopped`));
  }

  /** Runs the process once. @returns a description of how it exited */
  async #run(): Promise<string> {
    const child = this.#spawn();
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | string | null]>((resolve) => {
      child.once('exit', (...result) => resolve(result)).once('error', ({ message }) => resolve([null, message]));
      void this.#settle(child);
    });
    this.#child = undefined;
    if (signal) return signal;
    return code === 0 ? 'exit 0' : `exit ${code}: ${await lastLines(this.#log)}`;
  }

  #spawn(): ChildProcess {
    const { command, env, cwd, user } = this.spec;
    const output = openSync(this.#log, 'a', 0o600);
    // A process group of its own: Ctrl-C must reach only the supervisor, which stops all processes in order.
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

  /** Records the identity of the process and waits until it is ready or has exited. */
  async #settle(child: ChildProcess): Promise<void> {
    if (!child.pid) return;
    const started = (await identify(child.pid))?.started ?? '';
    if (this.#child !== child) return;
    this.#become({ pid: child.pid, command: this.spec.command.join(' '), started, state: 'starting' });
    while (this.#child === child && !(await this.spec.isReady().catch(() => false))) await delay(50);
    if (this.#child !== child || this.#stopping.signal.aborted) return;
    if (this.#now.restarts > 0) this.#print(`${this.spec.name} restarted`);
    this.#become({ state: 'running' });
    this.#ready.resolve();
  }

  #become(change: Partial<Omit<RunningProcess, 'ports' | 'log' | 'stopSignal'>>): void {
    this.#now = { ...this.#now, ...change };
    this.#changed();
  }
}

/** Variables passed on from the caller. Others could be settings of other programs that have the same names. */
function inherited(): Record<string, string> {
  const system = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'NODE_OPTIONS'];
  const names = [
    ...system,
    'LOG_LEVEL',
    'RESEND_AFTER_SECONDS',
    'SUBSCRIPTION_STALL_SECONDS',
    'RECONCILE_AFTER_SECONDS',
  ];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}
