import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { LogLine } from './fixture.ts';

const main = join(import.meta.dirname, '../../../services/relay/main.ts');

/** A relay in its own process, which tests kill and freeze. */
export class RelayProcess implements AsyncDisposable {
  readonly log: LogLine[] = [];
  readonly #child: ChildProcess;

  constructor({ databaseUrl, daprPort }: { databaseUrl: string; daprPort: number }) {
    const env = {
      ...process.env,
      APP_ID: 'lamp',
      DATABASE_URL: databaseUrl,
      DAPR_HTTP_PORT: `${daprPort}`,
      DAPR_API_TOKEN: 'a-token-of-the-test',
      PORT: '0',
    };
    this.#child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(this.#child.stdout!).on('line', (line) => this.log.push(JSON.parse(line) as LogLine));
  }

  /** Returns whether a log message matches. */
  hasLogged(message: RegExp): boolean {
    return this.log.some(({ msg }) => message.test(msg));
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** @returns its exit code; null after a signal */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return this.#child.exitCode;
    const exit = once(this.#child, 'exit');
    this.signal(signal);
    const [code] = await exit;
    return code as number | null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL');
  }
}
