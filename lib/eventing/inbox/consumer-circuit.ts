/** Aggregates that must fail, with no success in between, before the fault counts as the consumer's and not the events'. */
const SEVERAL = 3;
/** Delays between probes. The first probe is immediate: a dependency may have failed for one event only. Milliseconds. */
const PROBE = { firstMs: 250, longestMs: 5_000 };

export interface ConsumerFailure {
  readonly error: unknown;
  readonly aggregateId: string;
  /** Whether a dependency did not answer: the next event would wait as long. */
  readonly isOutage: boolean;
}

/**
 * Circuit breaker of one consumer in one process. While open, events are deferred without being handled, and no attempts are spent; one
 * deferred event at a time is handled as a probe, and the first success closes it. It opens with the first outage of a dependency, or when
 * several aggregates have failed with no success in between: such as after a release with a bug, which fails for all events.
 */
export class ConsumerCircuit {
  readonly #now: () => number;
  readonly #failing = new Set<string>();
  #open: { readonly cause: unknown; probes: number; probeAt: number } | undefined;

  /** @param now monotonic clock, milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** The error with which it opened. */
  get cause(): unknown {
    return this.#open?.cause;
  }

  /** Milliseconds until the next probe; 0 when it is due or the circuit is closed. */
  get waitMs(): number {
    return Math.max(0, (this.#open?.probeAt ?? 0) - this.#now());
  }

  /** Records that the consumer failed. @returns whether the circuit opened */
  failed({ error, aggregateId, isOutage }: ConsumerFailure): boolean {
    if (this.#open) {
      const delay = Math.min(PROBE.longestMs, PROBE.firstMs * 2 ** Math.min(this.#open.probes++, 20));
      this.#open.probeAt = this.#now() + delay * (0.75 + Math.random() / 2);
      return false;
    }
    this.#failing.add(aggregateId);
    if (!isOutage && this.#failing.size < SEVERAL) return false;
    this.#open = { cause: error, probes: 0, probeAt: 0 };
    return true;
  }

  /** Records that the consumer handled an event. @returns whether the circuit was open */
  succeeded(): boolean {
    const wasOpen = this.isOpen;
    this.#failing.clear();
    this.#open = undefined;
    return wasOpen;
  }
}
