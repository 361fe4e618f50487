const SECONDS_BETWEEN_LINES = 10;

/** Lines for the person at the terminal, or for a log. What nobody can read any more, since the terminal is gone, is dropped. */
export class Progress {
  readonly #out: NodeJS.WriteStream;
  readonly #since = performance.now();
  #lastLive = 0;
  #isLive = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    out.on('error', () => undefined);
  }

  get isTerminal(): boolean {
    return this.#out.isTTY === true;
  }

  /** Prints a line as it is. */
  line(text = ''): void {
    this.endLive();
    this.#out.write(`${text}\n`);
  }

  /** Prints what has happened, with the seconds since the start. */
  say(text: string): void {
    this.line(`${((performance.now() - this.#since) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  }

  /** Prints how far something has come, in place of what was printed so before; a log gets such a line now and then. */
  live(text: string): void {
    if (this.isTerminal) {
      this.#out.write(`\r\x1b[K${' '.repeat(10)}${text}`);
      this.#isLive = true;
    } else if (performance.now() - this.#lastLive > SECONDS_BETWEEN_LINES * 1000) {
      this.#lastLive = performance.now();
      this.say(text);
    }
  }

  /** Clears what `live` has printed. */
  endLive(): void {
    if (this.#isLive) this.#out.write('\r\x1b[K');
    this.#isLive = false;
  }
}

/** How far something has come, in bytes: as a bar, or as their number where the whole is not known. */
export function bar(done: number, of: number): string {
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(1);
  if (of === 0) return `${mib(done)} MiB`;
  const filled = Math.round((30 * done) / of);
  return `[${'#'.repeat(filled)}${' '.repeat(30 - filled)}] ${mib(done)} of ${mib(of)} MiB`;
}
