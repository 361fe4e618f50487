import { Lane, type RelayOptions } from './lane.ts';
import type { Lease } from './lease.ts';
import { topicsWaiting } from './outbox-queries.ts';
import { Resend } from './resend.ts';

/** The lanes of one lease, each at its own pace, and the one who sends again. */
export class Crew {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #stopping: AbortSignal;
  readonly #lanes = new Map<string, Lane>();
  readonly #working = new Map<string, Promise<unknown>>();
  readonly #unmarked: Map<string, Set<string>>;
  readonly #call: () => void;
  readonly #resend: Resend;

  /**
   * @param unmarked by topic, what was relayed and is not marked yet; outlives the lease
   * @param call called when the next dispatch should not be put off
   */
  constructor(
    lease: Lease,
    options: RelayOptions,
    stopping: AbortSignal,
    unmarked: Map<string, Set<string>>,
    call: () => void,
  ) {
    this.#lease = lease;
    this.#options = options;
    this.#stopping = stopping;
    this.#unmarked = unmarked;
    this.#call = call;
    this.#resend = new Resend(lease, options, (topic) => this.#lane(topic));
  }

  /** Sets everybody to work who has some. */
  async dispatch(): Promise<void> {
    const topics = await topicsWaiting(this.#lease);
    const busy = this.#working.size > 0;
    for (const topic of topics) this.#set(topic, () => this.#lane(topic).drain(this.#stopping));
    this.#set('', () => this.#resend.tick(busy).then(() => false));
  }

  #set(who: string, work: () => Promise<boolean>): void {
    if (this.#working.has(who)) return;
    const done = work()
      // Where something was, more is likely to follow.
      .then((worked) => worked && this.#call())
      .catch((error) => this.#lease.drop(error))
      .finally(() => this.#working.delete(who));
    this.#working.set(who, done);
  }

  #lane(topic: string): Lane {
    const known = this.#lanes.get(topic);
    if (known) return known;
    const unmarked = this.#unmarked.get(topic) ?? new Set<string>();
    this.#unmarked.set(topic, unmarked);
    const lane = new Lane(topic, this.#lease, this.#options, unmarked, this.#call);
    this.#lanes.set(topic, lane);
    return lane;
  }

  async finished(): Promise<void> {
    await Promise.all(this.#working.values());
  }
}
