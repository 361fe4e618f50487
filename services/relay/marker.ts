import type { Lease } from './lease.ts';
import type { Message } from './message.ts';
import { markRelayed } from './outbox-queries.ts';

/** Accepted messages that are marked in one statement, if calls are in flight that long; milliseconds. */
const FULL = 300;
const LATEST_MS = 100;
/** With so many accepted messages unmarked none is sent: all of them would be repeated after `kill -9`. */
export const MOST_UNMARKED = 600;

/**
 * Marks the accepted messages of one topic as sent, several calls in one statement. Their ids are remembered until then, even across leases:
 * otherwise they would be sent again.
 */
export class Marker {
  readonly #lease: Lease;
  readonly #unmarked: Map<string, string>;
  readonly #resendAfterSeconds: number;
  readonly #onDue: () => void;
  /** By id: the partition of each message that was accepted under this lease and is not in any statement yet. */
  readonly #fresh = new Map<string, number>();
  #dueAt = 0;

  /**
   * @param unmarked keys, by id, of messages that are accepted but not marked yet, also under earlier leases
   * @param onDue called when accepted messages should be marked
   */
  constructor(lease: Lease, unmarked: Map<string, string>, resendAfterSeconds: number, onDue: () => void) {
    this.#lease = lease;
    this.#unmarked = unmarked;
    this.#resendAfterSeconds = resendAfterSeconds;
    this.#onDue = onDue;
  }

  /** Adds an accepted message. */
  add({ id, orderingKey, partition }: Pick<Message, 'id' | 'orderingKey' | 'partition'>): void {
    this.#unmarked.set(id, orderingKey);
    this.#fresh.set(id, partition);
    if (this.#fresh.size > 1) return;
    this.#dueAt = performance.now() + LATEST_MS;
    setTimeout(this.#onDue, LATEST_MS + 1).unref();
  }

  /** Whether there are messages to mark; those that were locked are tried again with the next ones. */
  get hasAny(): boolean {
    return this.#fresh.size > 0;
  }

  /** Whether it is worth a statement although more messages will be accepted soon. */
  get isDue(): boolean {
    return this.#fresh.size >= FULL || (this.hasAny && performance.now() >= this.#dueAt);
  }

  get isFull(): boolean {
    return this.#fresh.size >= MOST_UNMARKED;
  }

  /** Whether a message of the partition is to be marked under this lease. */
  needs(partition: number): boolean {
    return this.#fresh.values().some((it) => it === partition);
  }

  /** Forgets which messages were accepted under this lease; their ids are kept. */
  forget(): void {
    this.#fresh.clear();
  }

  /** Marks all accepted messages as sent. @throws if a partition of them is not leased any more */
  async mark(): Promise<void> {
    const ids = [...this.#unmarked.keys()];
    if (ids.length === 0) return;
    const { locked, partitions } = await markRelayed(this.#lease, ids, this.#resendAfterSeconds);
    const remaining = new Set(locked);
    const leased = new Set(partitions);
    for (const id of ids) {
      if (!remaining.has(id)) this.#unmarked.delete(id);
      const partition = this.#fresh.get(id);
      this.#fresh.delete(id);
      if (partition !== undefined && !leased.has(partition))
        throw new Error(`Partition ${partition} is not leased any more`);
    }
  }
}
