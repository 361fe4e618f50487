import type { OutboxMessage } from './message.ts';

/** Waiting messages of one key: more are read when they are needed, so that no key takes all the room. */
const MOST_OF_KEY = 200;

/** The fields that the queue needs. */
type Queued = Pick<OutboxMessage, 'id' | 'orderingKey' | 'partition' | 'position' | 'event'>;

/**
 * The messages of one topic that were read and not yet accepted. A key is ready when it has a waiting message and none in flight: bulk
 * publishing keeps no order, so its next message is sent only after the result of the one before.
 */
export class ReadyQueue<M extends Queued = OutboxMessage> {
  /** By key, in the order of their positions. */
  readonly #waiting = new Map<string, M[]>();
  /** In the order in which they became ready. */
  readonly #ready = new Set<string>();
  /** By key. */
  readonly #inFlight = new Map<string, M>();
  readonly #ids = new Set<string>();
  #bytes = 0;

  /** Number of waiting messages. */
  get size(): number {
    return this.#ids.size - this.#inFlight.size;
  }

  /** Size of the waiting messages, about. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of keys that are ready. */
  get ready(): number {
    return this.#ready.size;
  }

  /** Returns the ids of a key's messages, that of the one in flight included. */
  idsOf(key: string): string[] {
    const inFlight = this.#inFlight.get(key);
    return [...(inFlight ? [inFlight] : []), ...(this.#waiting.get(key) ?? [])].map(({ id }) => id);
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** Whether a message of the partition is in flight. */
  isInFlight(partition: number): boolean {
    return this.#inFlight.values().some((message) => message.partition === partition);
  }

  /** Whether it is worth reading more of a key. */
  hasRoom(key: string): boolean {
    return (this.#waiting.get(key)?.length ?? 0) <= MOST_OF_KEY / 2;
  }

  /** Adds a message that is not in the queue. @returns false if its key has too many already */
  add(message: M): boolean {
    const waiting = this.#waiting.get(message.orderingKey) ?? [];
    if (waiting.length >= MOST_OF_KEY) return false;
    this.#ids.add(message.id);
    this.#wait(message, waiting);
    return true;
  }

  #wait(message: M, waiting = this.#waiting.get(message.orderingKey) ?? []): void {
    const { orderingKey: key, position } = message;
    waiting.splice(waiting.findLastIndex((other) => other.position < position) + 1, 0, message);
    this.#waiting.set(key, waiting);
    this.#bytes += message.event.length;
    if (!this.#inFlight.has(key)) this.#ready.add(key);
  }

  /** Returns the next message of each ready key. */
  heads(): M[] {
    return Array.from(this.#ready, (key) => this.#waiting.get(key)![0]!);
  }

  /** Takes the next messages, at most one per key and `most` in total. They are in flight until `accept`, `requeue` or `drop`. */
  take(most: number, mostBytes = Number.POSITIVE_INFINITY): M[] {
    const taken: M[] = [];
    let bytes = 0;
    for (const key of this.#ready) {
      const size = this.#waiting.get(key)![0]!.event.length;
      if (taken.length >= most || (taken.length > 0 && bytes + size > mostBytes)) break;
      bytes += size;
      taken.push(this.takeOf(key));
    }
    return taken;
  }

  /** Takes the next message of a ready key. */
  takeOf(key: string): M {
    const waiting = this.#waiting.get(key)!;
    const message = waiting.shift()!;
    if (waiting.length === 0) this.#waiting.delete(key);
    this.#bytes -= message.event.length;
    this.#ready.delete(key);
    this.#inFlight.set(key, message);
    return message;
  }

  /** Removes a message in flight that was accepted. */
  accept({ id, orderingKey: key }: M): void {
    this.#inFlight.delete(key);
    this.#ids.delete(id);
    if (this.#waiting.has(key)) this.#ready.add(key);
  }

  /** Returns a message in flight to the queue. */
  requeue(message: M): void {
    this.#inFlight.delete(message.orderingKey);
    this.#wait(message);
  }

  /** Removes a message in flight and those of its key that follow. */
  drop(message: M): void {
    const { orderingKey: key, position } = message;
    for (const { id } of this.#remove(key, (other) => other.position > position)) this.#ids.delete(id);
    this.accept(message);
  }

  /** Removes the waiting messages of all other partitions. */
  keepOnly(isKept: (partition: number) => boolean): void {
    for (const key of [...this.#waiting.keys()])
      for (const { id } of this.#remove(key, ({ partition }) => !isKept(partition))) this.#ids.delete(id);
  }

  /** Removes all but `most` of the waiting messages; those of a key that remain are its first ones. @returns the removed ones */
  trim(most: number): M[] {
    let kept = 0;
    const removed = [...this.#waiting.keys()].flatMap((key) => this.#remove(key, () => kept++ >= most));
    for (const { id } of removed) this.#ids.delete(id);
    return removed;
  }

  /** Removes waiting messages of a key. */
  #remove(key: string, isRemoved: (message: M) => boolean): M[] {
    const { removed = [], rest = [] } = Object.groupBy(this.#waiting.get(key) ?? [], (message) =>
      isRemoved(message) ? 'removed' : 'rest',
    );
    if (removed.length === 0) return removed;
    for (const { event } of removed) this.#bytes -= event.length;
    if (rest.length > 0) this.#waiting.set(key, rest);
    else {
      this.#waiting.delete(key);
      this.#ready.delete(key);
    }
    return removed;
  }
}
