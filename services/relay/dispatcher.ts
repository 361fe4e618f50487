import { type Lease, SlowStatement } from './lease.ts';
import type { RelayOptions } from './options.ts';
import { topicsWaiting } from './outbox-queries.ts';
import { Resender } from './resender.ts';
import { TopicRelay } from './topic-relay.ts';

/** Pause of a topic after a statement that took too long; doubles each time. */
const SLOW = { minMs: 1_000, maxMs: 60_000 };
/** After a search for topics that took longer than this, the known ones do for a while; milliseconds. A search may wait for other statements. */
const SEARCH = { fastMs: 5, pauseMs: 1_000 };

/**
 * Runs one TopicRelay per topic under one lease, plus the resender for unconfirmed messages. Topics progress independently.
 */
export class Dispatcher {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #stopping: AbortSignal;
  readonly #relays = new Map<string, TopicRelay>();
  readonly #tasks = new Map<string, Promise<unknown>>();
  /** By topic: how often in a row a statement of its task took too long. */
  readonly #slow = new Map<string, { times: number; until: number }>();
  #nextSearch = 0;
  #laterSearch: NodeJS.Timeout | undefined;
  readonly #unmarked: Map<string, Map<string, string>>;
  readonly #wake: () => void;
  readonly #resender: Resender;

  /**
   * @param unmarked by topic, keys by id of messages that are sent but not marked yet; outlives the lease
   * @param wake called when the next dispatch should start immediately
   */
  constructor(
    lease: Lease,
    options: RelayOptions,
    stopping: AbortSignal,
    unmarked: Map<string, Map<string, string>>,
    wake: () => void,
  ) {
    this.#lease = lease;
    this.#options = options;
    this.#stopping = stopping;
    this.#unmarked = unmarked;
    this.#wake = wake;
    this.#resender = new Resender(lease, options, (topic) => this.#relayOf(topic).faults);
  }

  /** Starts a task for each topic with messages, and for the resender, unless its previous task is still running. */
  async dispatch(): Promise<void> {
    for (const relay of this.#relays.values()) relay.wake();
    const topics = await this.#findTopics();
    if (topics.length > 0) for (const it of [this.#lease, this.#resender]) it.noteWork();
    const isBusy = this.#tasks.size > 0;
    for (const topic of topics) this.#start(topic, () => this.#relayOf(topic).drain(this.#stopping));
    this.#start('', () => this.#resender.tick(isBusy).then(() => false));
  }

  /** Returns the topics with messages; all known ones while searching them is slow. */
  async #findTopics(): Promise<readonly string[]> {
    const startedAt = performance.now();
    if (startedAt < this.#nextSearch) {
      this.#laterSearch ??= setTimeout(() => {
        this.#laterSearch = undefined;
        this.#wake();
      }, this.#nextSearch - startedAt).unref();
      return [...this.#relays.keys()];
    }
    try {
      return await topicsWaiting(this.#lease);
    } catch (error) {
      if (!(error instanceof SlowStatement)) throw error;
      this.#options.log.warn({ err: error }, 'looking for topics took too long, relaying the known ones');
      return [...this.#relays.keys()];
    } finally {
      const endedAt = performance.now();
      if (endedAt - startedAt > SEARCH.fastMs) this.#nextSearch = endedAt + SEARCH.pauseMs;
    }
  }

  #start(name: string, task: () => Promise<boolean>): void {
    if (this.#tasks.has(name) || performance.now() < (this.#slow.get(name)?.until ?? 0)) return;
    const done = task()
      .then((hadWork) => {
        this.#slow.delete(name);
        // A topic that had messages is likely to have more.
        if (hadWork) this.#wake();
      })
      .catch((error) => (error instanceof SlowStatement ? this.#pause(name, error) : this.#lease.drop(error)))
      .finally(() => this.#tasks.delete(name));
    this.#tasks.set(name, done);
  }

  /** Other topics go on: their statements may be fast, and a new lease would not make this one faster. */
  #pause(topic: string, error: SlowStatement): void {
    const times = (this.#slow.get(topic)?.times ?? 0) + 1;
    const ms = Math.min(SLOW.maxMs, SLOW.minMs * 2 ** (times - 1));
    this.#slow.set(topic, { times, until: performance.now() + ms });
    this.#options.log.error({ topic, err: error, pauseMs: ms }, 'statement took too long, this topic pauses');
  }

  #relayOf(topic: string): TopicRelay {
    const existing = this.#relays.get(topic);
    if (existing) return existing;
    const unmarked = this.#unmarked.get(topic) ?? new Map<string, string>();
    this.#unmarked.set(topic, unmarked);
    const relay = new TopicRelay(topic, this.#lease, this.#options, unmarked, this.#wake);
    this.#relays.set(topic, relay);
    return relay;
  }

  /** Resolves when all running tasks have ended. */
  async finished(): Promise<void> {
    await Promise.all(this.#tasks.values());
  }
}
