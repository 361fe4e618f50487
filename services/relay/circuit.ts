/** How long an open circuit waits: doubled at each failure between these, with jitter, so that relays do not probe together. */
export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
}

/** Fast, since most outages are a restart; seldom after a while, since each probe of a broker that is down keeps daprd busy for seconds. */
export const BACKOFF: Backoff = { minMs: 200, maxMs: 30_000 };

/**
 * Whether a topic may be published to. Open, it lets one message through at a time, each time of another key, so that a message that can
 * never be published does not keep the circuit open for the others.
 */
export class Circuit {
  readonly #backoff: Backoff;
  readonly #now: () => number;
  #failures = 0;
  #retryAt = 0;
  /** Refused since it opened, while daprd itself answered. */
  #refusedKeys = new Set<string>();
  /** Probed since it opened, whatever came of it. */
  #triedKeys = new Set<string>();
  #cause = '';

  /** @param now in milliseconds, of a clock that is never set */
  constructor(backoff: Backoff = BACKOFF, now: () => number = () => performance.now()) {
    this.#backoff = backoff;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#failures > 0;
  }

  /** Milliseconds until the next probe; 0 when it may go, or when the circuit is closed. */
  get waitMs(): number {
    return this.isOpen ? Math.max(0, this.#retryAt - this.#now()) : 0;
  }

  /** Whether no message may go before the next probe, whichever. */
  get isShut(): boolean {
    return this.waitMs > 0 && this.#refusedKeys.size !== 1;
  }

  /** Of these messages, one of each key, those that may go now. */
  admit<M extends { readonly orderingKey: string }>(wave: readonly M[]): readonly M[] {
    if (!this.isOpen) return wave;
    const other = wave.find(({ orderingKey }) => !this.#triedKeys.has(orderingKey));
    // One key alone was refused: that may be its own fault, and then another need not wait.
    if (other && (this.waitMs === 0 || this.#refusedKeys.size === 1)) return [other];
    if (this.waitMs > 0) return [];
    this.#refusedKeys.clear();
    this.#triedKeys.clear();
    return wave.slice(0, 1);
  }

  /**
   * Nothing of a wave went through.
   * @param cause the kind of failure; messages differ from try to try
   * @param keys of the messages that it was tried with
   * @returns whether this is news: it was closed, or open for another cause
   */
  open(cause: string, keys: readonly string[] = []): boolean {
    const news = !this.isOpen || cause !== this.#cause;
    const { minMs, maxMs } = this.#backoff;
    const delay = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    this.#cause = cause;
    this.#retryAt = this.#now() + delay * (0.5 + Math.random() / 2);
    // When daprd could not be asked, no key's own fault is likely any more.
    if (cause !== 'refused') this.#refusedKeys.clear();
    for (const key of keys) {
      this.#triedKeys.add(key);
      if (cause === 'refused') this.#refusedKeys.add(key);
    }
    return news;
  }

  /** Something went through. @returns whether this is news */
  close(): boolean {
    const news = this.isOpen;
    this.#failures = 0;
    this.#refusedKeys.clear();
    this.#triedKeys.clear();
    return news;
  }
}
