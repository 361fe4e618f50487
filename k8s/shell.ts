import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Takes each line that the program prints while it works. */
  readonly tell?: (line: string) => void;
}

/** Programs that work on one cluster. */
export class Shell {
  readonly kubeconfig: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(kubeconfig: string) {
    this.kubeconfig = kubeconfig;
    // Whoever makes a cluster may bring its kubectl and helm along.
    const beside = join(dirname(kubeconfig), 'bin');
    const path = existsSync(beside) ? `${process.env.PATH}${delimiter}${beside}` : process.env.PATH;
    this.#env = { ...process.env, PATH: path, KUBECONFIG: kubeconfig };
  }

  /** @returns what it printed @throws what it complained of */
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

  /** Something that goes on, such as a port-forward. */
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
