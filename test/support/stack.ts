import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Running, readRunning } from '../../local/supervisor/running.ts';
import { eventually } from './eventually.ts';

/** This project's folder. */
export const root = join(import.meta.dirname, '../..');

export interface TestStack extends AsyncDisposable {
  readonly dataDir: string;
  /** Returns what runs now; restarted processes have new ids. */
  running(): Promise<Running>;
  /** Runs a script of local/ against this stack, such as `stack.ts kill member-relay`. @returns its exit code and output */
  script(name: string, ...args: string[]): Promise<{ code: number; output: string }>;
  /** Returns what the runner has printed so far. */
  output(): string;
  /** Sends SIGINT, as Ctrl-C does. @returns the runner's exit code */
  interrupt(): Promise<number>;
}

/** Starts the whole system with real infrastructure, as `npm start` does, with its own folder and ports. */
export async function startStack(...flags: string[]): Promise<TestStack> {
  return startStackWith({}, ...flags);
}

interface StackOptions {
  /** More environment variables. */
  readonly env?: Record<string, string>;
  /** Source tree (default this project). */
  readonly tree?: string;
  /** Folder of the data, which is then kept (default: a new one, deleted at the end). */
  readonly data?: string;
}

/** Starts the system with more environment variables, from another source tree, or with existing data. */
export async function startStackWith(
  { env = {}, tree = root, data }: StackOptions,
  ...flags: string[]
): Promise<TestStack> {
  const dataDir = data ?? (await mkdtemp(join(tmpdir(), 'member-system-e2e-')));
  const runner = node(tree, ['local/main.ts', '--no-story', '--data', dataDir, ...flags], env);
  const printed = collect(runner);
  const exited = new Promise<number>((resolve) => runner.once('exit', (code) => resolve(code ?? -1)));
  let hasEnded = false;
  void exited.then(() => {
    hasEnded = true;
  });
  const interrupt = async (): Promise<number> => {
    if (!hasEnded) runner.kill('SIGINT');
    return exited;
  };
  const dispose = async (): Promise<void> => {
    await interrupt();
    if ((globalThis as { aTestHasFailed?: boolean }).aTestHasFailed) process.stderr.write(await problemsIn(dataDir));
    if (!data) await rm(dataDir, { recursive: true, force: true });
  };
  const ready = async (): Promise<boolean> => {
    if (hasEnded) throw new Error(`The runner has ended: ${printed()}`);
    return printed().includes('ready');
  };
  await eventually(ready, { timeoutMs: 120_000 }).catch(async (error: unknown) => {
    const text = printed();
    await dispose();
    throw new Error(`The system did not become ready:\n${text}`, { cause: error });
  });
  return {
    dataDir,
    running: () => readRunning(dataDir),
    output: printed,
    interrupt,
    async script(name, ...args) {
      const child = node(tree, [`local/${name}`, ...args, '--data', dataDir]);
      const output = collect(child);
      // Waits for `close`, since the output may not be read completely at `exit`.
      const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)));
      return { code, output: output() };
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** Reads the log of one process of the stack. */
export async function logOf(stack: TestStack, name: string): Promise<string> {
  return readFile(join(stack.dataDir, 'logs', `${name}.log`), 'utf8');
}

/** Returns the last warnings and errors of each process, to diagnose a failed test. */
async function problemsIn(dataDir: string): Promise<string> {
  const logs = join(dataDir, 'logs');
  const isProblem = (line: string) => /"level":[456]0|"status":5\d\d|level=(error|fatal)/.test(line);
  const parts: string[] = [];
  // A runner that ended early has created no logs.
  for (const file of (await readdir(logs).catch(() => [])).sort()) {
    const lines = (await readFile(join(logs, file), 'utf8')).split('\n').filter(isProblem).slice(-10);
    parts.push(...lines.map((line) => `${file}: ${line.slice(0, 1_000)}\n`));
  }
  return parts.join('');
}

function node(cwd: string, args: string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  return () => text;
}
