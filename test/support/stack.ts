import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Running, readRunning } from '../../local/running.ts';
import { eventually } from './eventually.ts';

/** This project's folder. */
export const root = join(import.meta.dirname, '../..');

export interface TestStack extends AsyncDisposable {
  readonly dataDir: string;
  /** What runs right now: processes get new ids when they are started again. */
  running(): Promise<Running>;
  /** Runs a script of local/ against this stack, such as `stack.ts kill member-relay`; answers what it printed. */
  script(name: string, ...args: string[]): Promise<{ code: number; output: string }>;
  /** What the runner has printed so far. */
  output(): string;
  /** Ctrl-C, and the runner's exit code. */
  interrupt(): Promise<number>;
}

/** The whole system on real parts, in a folder and on ports of its own, as `npm start` runs it. */
export async function startStack(...flags: string[]): Promise<TestStack> {
  return startStackWith({}, ...flags);
}

/** The same, with more in its environment, or from another tree than this one. */
export async function startStackWith(
  { env = {}, tree = root }: { env?: Record<string, string>; tree?: string },
  ...flags: string[]
): Promise<TestStack> {
  const dataDir = await mkdtemp(join(tmpdir(), 'member-system-e2e-'));
  const runner = node(tree, ['local/main.ts', '--no-story', '--data', dataDir, ...flags], env);
  const printed = collect(runner);
  const exited = new Promise<number>((resolve) => runner.once('exit', (code) => resolve(code ?? -1)));
  let over = false;
  void exited.then(() => {
    over = true;
  });
  const interrupt = async (): Promise<number> => {
    if (!over) runner.kill('SIGINT');
    return exited;
  };
  const dispose = async (): Promise<void> => {
    await interrupt();
    await rm(dataDir, { recursive: true, force: true });
  };
  const ready = async (): Promise<boolean> => {
    if (over) throw new Error(`The runner has ended: ${printed()}`);
    return printed().includes('ready');
  };
  await eventually(ready, { timeoutMs: 120_000 }).catch(async (error: unknown) => {
    const text = printed();
    await dispose();
    throw new Error(`The system did not get ready:\n${text}`, { cause: error });
  });
  return {
    dataDir,
    running: () => readRunning(dataDir),
    output: printed,
    interrupt,
    async script(name, ...args) {
      const child = node(tree, [`local/${name}`, ...args, '--data', dataDir]);
      const output = collect(child);
      // Not at its exit: what it has printed may not have been read by then.
      const code = await new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)));
      return { code, output: output() };
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** The log of one process of the stack. */
export async function logOf(stack: TestStack, name: string): Promise<string> {
  return readFile(join(stack.dataDir, 'logs', `${name}.log`), 'utf8');
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
