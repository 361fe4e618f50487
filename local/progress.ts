/** Lines for the person at the terminal. What nobody reads any more, since the terminal is gone, is dropped. */
export class Progress {
  readonly #out: NodeJS.WriteStream;
  readonly #since = performance.now();

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    out.on('error', () => undefined);
  }

  /** Prints a line as it is. */
  line(text = ''): void {
    this.#out.write(`${text}\n`);
  }

  /** Prints what has happened, with the seconds since the start. */
  say = (text: string): void => {
    const seconds = ((performance.now() - this.#since) / 1000).toFixed(1);
    this.line(`${seconds.padStart(6)} s  ${text}`);
  };

  /** Does the work, and then says what was done and how long it took. */
  async step<T>(text: string, work: () => Promise<T>): Promise<T> {
    const since = performance.now();
    const result = await work();
    this.say(`${text} (${((performance.now() - since) / 1000).toFixed(1)} s)`);
    return result;
  }
}
