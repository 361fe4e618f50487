import type { Consumer } from '../consumer.ts';
import { databaseFault } from '../database-faults.ts';
import { isDependencyOutage, isOutage } from './failures.ts';

/** Aggregates that must fail, with no success in between, before the fault counts as the consumer's and not the events'. */
const SEVERAL = 3;
/** Delays between probes. The first probe is immediate: a dependency may have failed for one event only. Milliseconds. */
const PROBE = { firstMs: 250, longestMs: 5_000 };
/** A fault that begins again within this time is not news: with a fault of one type of event, each success ends it. Milliseconds. */
const NEWS_MS = 60_000;

type News = 'a dependency is unavailable' | 'the consumer fails';

/** What a failure of one event says about its consumer. */
export interface Failed {
  /** Whether the failure spends no attempt. */
  readonly isSystemic: boolean;
  /** To be logged. */
  readonly news?: News | undefined;
}

/**
 * Tells faults of one consumer from faults of single events, in one process.
 *
 * - A dependency cannot be reached: the circuit opens, because the next event would wait as long. Events are deferred without being handled,
 *   and one at a time is handled as a probe.
 * - Several aggregates have failed with no success in between, such as after a release with a bug: events are handled as usual, which is fast
 *   and shows which of them succeed, but failures spend no attempts.
 *
 * A success ends both.
 */
export class ConsumerCircuit {
  readonly #now: () => number;
  readonly #failing = new Set<string>();
  #open: { readonly cause: unknown; probes: number; probeAt: number } | undefined;

  readonly #reportedAt = new Map<News, number>();
  /** What was reported of the present fault. */
  readonly #reported = new Set<News>();

  /** @param now monotonic clock, milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether events have to be deferred without being handled. */
  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** Whether failures spend no attempts. */
  get isFailing(): boolean {
    return this.#failing.size >= SEVERAL;
  }

  /** The error with which it opened. */
  get cause(): unknown {
    return this.#open?.cause;
  }

  /** Milliseconds until the next probe; 0 when it is due or the circuit is closed. */
  get waitMs(): number {
    return Math.max(0, (this.#open?.probeAt ?? 0) - this.#now());
  }

  /**
   * Records that the consumer failed.
   * @param isProbe whether it was handled because a probe was due. Others began before the circuit opened
   */
  failed(error: unknown, aggregateId: string, isProbe: boolean): Failed {
    if (isDependencyOutage(error)) return this.#unavailable(error, isProbe);
    // Collisions, and a database that cannot be reached, say nothing about the consumer.
    if (isOutage(error) && databaseFault(error) !== 'systemic') return { isSystemic: false };
    // The dependency has answered.
    if (isProbe) this.#open = undefined;
    // Bounded: only whether there are several matters.
    if (!this.isFailing) this.#failing.add(aggregateId);
    const { isFailing } = this;
    return { isSystemic: isFailing, news: isFailing ? this.#report('the consumer fails') : undefined };
  }

  #unavailable(cause: unknown, isProbe: boolean): Failed {
    const news = this.#report('a dependency is unavailable');
    if (!this.#open) {
      this.#open = { cause, probes: 0, probeAt: 0 };
      return { isSystemic: true, news };
    }
    if (isProbe) {
      const delay = Math.min(PROBE.longestMs, PROBE.firstMs * 2 ** Math.min(this.#open.probes++, 20));
      this.#open.probeAt = this.#now() + delay * (0.75 + Math.random() / 2);
    }
    return { isSystemic: true, news };
  }

  /** Returns the news, once for each fault and at most once a minute: a fault that lasts is reported after that at the latest. */
  #report(news: News): News | undefined {
    const now = this.#now();
    if (this.#reported.has(news) || now - (this.#reportedAt.get(news) ?? Number.NEGATIVE_INFINITY) < NEWS_MS)
      return undefined;
    this.#reportedAt.set(news, now);
    this.#reported.add(news);
    return news;
  }

  /** Records that the consumer handled an event. @returns whether this ends a fault that was reported */
  succeeded(): boolean {
    const isNews = this.#reported.size > 0;
    this.#reported.clear();
    this.#failing.clear();
    this.#open = undefined;
    return isNews;
  }
}

/** Returns whether a consumer handles events of this type; it skips others. */
export const handles = ({ types }: Pick<Consumer, 'types'>, type: string): boolean =>
  types === 'all' || types.includes(type);
