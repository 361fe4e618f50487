import type { Lease } from './lease.ts';
import type { RelayOptions } from './options.ts';
import { topicsWaiting } from './outbox-queries.ts';
import { Resender } from './resender.ts';
import { TopicRelay } from './topic-relay.ts';

/**
 * Runs one TopicRelay per topic under one lease, plus the resender for unconfirmed messages. Topics progress independently.
 */
export class Dispatcher {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #stopping: AbortSignal;
  readonly #relays = new Map<string, TopicRelay>();
  readonly #tasks = new Map<string, Promise<unknown>>();
  readonly #unmarked: Map<string, Set<string>>;
  readonly #wake: () => void;
  readonly #resender: Resender;

  /**
   * @param unmarked by topic, ids of messages that are sent but not marked yet; outlives the lease
   * @param wake called when the next dispatch should start immediately
   */
  constructor(
    lease: Lease,
    options: RelayOptions,
    stopping: AbortSignal,
    unmarked: Map<string, Set<string>>,
    wake: () => void,
  ) {
    this.#lease = lease;
    this.#options = options;
    this.#stopping = stopping;
    this.#unmarked = unmarked;
    this.#wake = wake;
    this.#resender = new Resender(lease, options, (topic) => this.#relayOf(topic));
  }

  /** Starts a task for each topic with messages, and for the resender, unless its previous task is still running. */
  async dispatch(): Promise<void> {
    const topics = await topicsWaiting(this.#lease);
    const isBusy = this.#tasks.size > 0;
    for (const topic of topics) this.#start(topic, () => this.#relayOf(topic).drain(this.#stopping));
    this.#start('', () => this.#resender.tick(isBusy).then(() => false));
  }

  #start(name: string, task: () => Promise<boolean>): void {
    if (this.#tasks.has(name)) return;
    const done = task()
      // A topic that had messages is likely to have more.
      .then((hadWork) => hadWork && this.#wake())
      .catch((error) => this.#lease.drop(error))
      .finally(() => this.#tasks.delete(name));
    this.#tasks.set(name, done);
  }

  #relayOf(topic: string): TopicRelay {
    const existing = this.#relays.get(topic);
    if (existing) return existing;
    const unmarked = this.#unmarked.get(topic) ?? new Set<string>();
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
