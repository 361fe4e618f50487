import { type Connection, type OutboxRow, readNotHeld } from './reader-queries.ts';

/** Messages that are looked up at a time. */
const VERIFIED = 100;

type Held = Pick<OutboxRow, 'id' | 'partition' | 'position'>;

/** The keys that wait, each with its message that is parked or waits for its next attempt. */
export class HeldKeys {
  readonly #held = new Map<string, Held>();
  #toVerify: [key: string, held: Held][] = [];

  has(key: string): boolean {
    return this.#held.has(key);
  }

  add(key: string, { id, partition, position }: Held): void {
    this.#held.set(key, { id, partition, position });
  }

  delete(key: string): void {
    this.#held.delete(key);
  }

  forget(partition: number): void {
    for (const [key, held] of this.#held) if (held.partition === partition) this.#held.delete(key);
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
