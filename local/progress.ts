const SECONDS_BETWEEN_LINES = 10;

/**
 * Prints progress to a terminal or a log. Write errors are ignored: a closed terminal must not interrupt the shutdown.
 */
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

  /** Prints a line without a time. */
  line(text = ''): void {
    this.endLive();
    this.#out.write(`${text}\n`);
  }

  /** Prints a message with the seconds since the start. */
  print(text: string): void {
    this.line(`${((performance.now() - this.#since) / 1000).toFixed(1).padStart(6)} s  ${text}`);
  }

  /** Replaces the current progress line; a log gets one every 10 s instead. */
  live(text: string): void {
    if (this.isTerminal) {
      this.#out.write(`\r\x1b[K${' '.repeat(10)}${text}`);
      this.#isLive = true;
    } else if (performance.now() - this.#lastLive > SECONDS_BETWEEN_LINES * 1000) {
      this.#lastLive = performance.now();
      this.print(text);
    }
  }

  /** Clears the progress line that `live` printed. */
  endLive(): void {
    if (this.#isLive) this.#out.write('\r\x1b[K');
    this.#isLive = false;
  }
}

/** Formats progress in bytes: as a bar, or as the number of MiB when the total is unknown (0). */
export function bar(done: number, total: number): string {
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(1);
  if (total === 0) return `${mib(done)} MiB`;
  const filled = Math.round((30 * done) / total);
  return `[${'#'.repeat(filled)}${' '.repeat(30 - filled)}] ${mib(done)} of ${mib(total)} MiB`;
}
