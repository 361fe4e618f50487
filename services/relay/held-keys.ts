import { type Connection, type OutboxRow, readNotHeld } from './reader-queries.ts';

/** Messages that are looked up at a time. */
const VERIFIED = 100;

type Held = Pick<OutboxRow, 'id' | 'partition' | 'position'>;

/** The keys that wait, each with its message that is parked or waits for its next attempt. */
export class HeldKeys {
  readonly #held = new Map<string, Held>();
  /** By key: an earlier message that was committed later. */
  readonly #earlier = new Map<string, number>();
  #toVerify: [key: string, held: Held][] = [];

  has(key: string): boolean {
    return this.#held.has(key);
  }

  /** Adds a key, unless it is held at an earlier message. */
  add(key: string, { id, partition, position }: Held): void {
    if (this.isBehind(key, position)) return;
    this.#held.set(key, { id, partition, position });
  }

  /** Whether the key is held at an earlier message. */
  isBehind(key: string, position: number): boolean {
    const held = this.#held.get(key);
    return held !== undefined && held.position < position;
  }

  /** Returns the position to read a held key from. */
  from(key: string): number | undefined {
    const held = this.#held.get(key);
    return held && Math.min(held.position, this.#earlier.get(key) ?? held.position);
  }

  /** Notes that a held key has a message that can be earlier than the one that holds it. @returns whether the key is held */
  startAt(key: string, position: number): boolean {
    const from = this.from(key);
    if (from !== undefined && position < from) this.#earlier.set(key, position);
    return from !== undefined;
  }

  delete(key: string): void {
    this.#held.delete(key);
    this.#earlier.delete(key);
  }

  forget(partition: number): void {
    for (const [key, held] of this.#held) if (held.partition === partition) this.delete(key);
  }

  /** Looks some keys up, in turns. @returns those whose message is not held any more: it was confirmed after all, or deleted */
  async verify(lease: Connection): Promise<[key: string, held: Held][]> {
    if (this.#toVerify.length === 0) this.#toVerify = [...this.#held];
    const some = this.#toVerify.splice(0, VERIFIED);
    if (some.length === 0) return [];
    const released = await readNotHeld(
      lease,
      some.map(([, { id }]) => id),
    );
    return some.filter(([key, held]) => released.has(held.id) && this.#held.get(key) === held);
  }
}
