import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with each line of output while the program runs. */
  readonly tell?: (line: string) => void;
}

/** Runs programs, such as kubectl and helm, against one cluster. */
export class Shell {
  readonly kubeconfig: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(kubeconfig: string) {
    this.kubeconfig = kubeconfig;
    // Cluster scripts may install kubectl and helm beside the kubeconfig.
    const binFolder = join(dirname(kubeconfig), 'bin');
    const path = existsSync(binFolder) ? `${process.env.PATH}${delimiter}${binFolder}` : process.env.PATH;
    this.#env = { ...process.env, PATH: path, KUBECONFIG: kubeconfig };
  }

  /** Runs a program to its end. @returns its stdout @throws Error with its output, if it fails */
  async run(command: readonly string[], { input, env, tell }: RunOptions = {}): Promise<string> {
    const child = spawn(command[0]!, command.slice(1), { env: { ...this.#env, ...env }, stdio: 'pipe' });
    child.stdin.on('error', () => undefined).end(input);
    let [out, all] = ['', ''];
    for (const [stream, isOut] of [
      [child.stdout, true],
      [child.stderr, false],
    ] as const) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        if (isOut) out += text;
        all += text;
        for (const line of text.split('\n')) if (line.trim()) tell?.(line);
      });
    }
    const code = await ended(child, command[0]!);
    if (code !== 0) throw new Error(`${command.join(' ').slice(0, 200)} failed: ${all.trim().slice(-2000)}`);
    return out;
  }

  kubectl(...args: string[]): Promise<string> {
    return this.run(['kubectl', ...args]);
  }

  /** Starts a long-running program, such as a port-forward. */
  start(command: readonly string[]): ChildProcess {
    return spawn(command[0]!, command.slice(1), { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
  }
}

function ended(child: ChildProcess, program: string): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ENOENT' ? new Error(`${program} is not installed, or not on the PATH`) : error),
    );
    child.once('close', resolve);
  });
}
