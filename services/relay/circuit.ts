/** Limits of the delay of an open circuit: it doubles with each failure, with jitter, so that relays do not probe at the same time. */
export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
}

/** Short at first: most outages are restarts. Long later: each probe of a broker that is down keeps daprd busy for seconds. */
export const BACKOFF: Backoff = { minMs: 200, maxMs: 30_000 };

/**
 * Circuit breaker of one topic. While open, it admits one message at a time, each time of another key, so that a poison message does not
 * keep the circuit open for the others.
 */
export class Circuit {
  readonly #backoff: Backoff;
  readonly #now: () => number;
  #failures = 0;
  #retryAt = 0;
  /** Keys whose messages were refused since the circuit opened, while daprd itself answered. */
  #refusedKeys = new Set<string>();
  /** Keys that were probed since the circuit opened, with any result. */
  #triedKeys = new Set<string>();
  #cause = '';

  /** @param now monotonic clock, milliseconds */
  constructor(backoff: Backoff = BACKOFF, now: () => number = () => performance.now()) {
    this.#backoff = backoff;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#failures > 0;
  }

  /** Milliseconds until the next probe; 0 when it is due or the circuit is closed. */
  get waitMs(): number {
    return this.isOpen ? Math.max(0, this.#retryAt - this.#now()) : 0;
  }

  /** Whether no message of any key may be sent before the next probe is due. */
  get isShut(): boolean {
    return this.waitMs > 0 && this.#refusedKeys.size !== 1;
  }

  /**
   * Returns the messages that may be sent now.
   * @param ready at most one message per key
   */
  admit<M extends { readonly orderingKey: string }>(ready: readonly M[]): readonly M[] {
    if (!this.isOpen) return ready;
    const other = ready.find(({ orderingKey }) => !this.#triedKeys.has(orderingKey));
    // Only one key was refused, so its message may be poison: another key need not wait.
    if (other && (this.waitMs === 0 || this.#refusedKeys.size === 1)) return [other];
    if (this.waitMs > 0) return [];
    this.#refusedKeys.clear();
    this.#triedKeys.clear();
    return ready.slice(0, 1);
  }

  /**
   * Records that no message of a call was accepted.
   * @param cause the kind of failure; error texts differ from attempt to attempt
   * @param keys keys of the attempted messages
   * @returns whether the state changed: the circuit was closed, or open for another cause
   */
  open(cause: string, keys: readonly string[] = []): boolean {
    const hasChanged = !this.isOpen || cause !== this.#cause;
    const { minMs, maxMs } = this.#backoff;
    const delay = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    this.#cause = cause;
    this.#retryAt = this.#now() + delay * (0.5 + Math.random() / 2);
    this.addFailure(cause, keys);
    return hasChanged;
  }

  /** Records the failure of a call that had begun before the circuit opened: no longer pause, but more evidence. */
  addFailure(cause: string, keys: readonly string[]): void {
    // daprd itself failed, so a poison message is no longer the likely cause.
    if (cause !== 'refused') this.#refusedKeys.clear();
    for (const key of keys) {
      this.#triedKeys.add(key);
      if (cause === 'refused') this.#refusedKeys.add(key);
    }
  }

  /** Records that a message was accepted. @returns whether the circuit was open */
  close(): boolean {
    const wasOpen = this.isOpen;
    this.#failures = 0;
    this.#refusedKeys.clear();
    this.#triedKeys.clear();
    return wasOpen;
  }
}
