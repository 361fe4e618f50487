import { type Connection, type OutboxRow, readKeys } from './reader-queries.ts';

/** Limits of a read: other keys come with a page, which needs room in the queue. */
const READ = { messages: 150, ofKey: 50, bytes: 8 * 1024 * 1024 };

interface Resumed {
  readonly partition: number;
  /** It is read from this position. */
  readonly from: number;
  /** Whether a page has passed over a message that was not read by key. */
  hasPassed: boolean;
}

/** The keys that are read by themselves, because they have messages before the marks of their partitions. */
export class ResumedKeys {
  readonly #keys = new Map<string, Resumed>();

  get size(): number {
    return this.#keys.size;
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** Returns the position from which a key is read; infinity if it is read with the pages. */
  from(key: string): number {
    return this.#keys.get(key)?.from ?? Number.POSITIVE_INFINITY;
  }

  some(condition: (key: string) => boolean): boolean {
    return this.#keys.keys().some(condition);
  }

  /** Reads a key from a position on, or from an earlier one that is known already. */
  add(key: string, partition: number, position: number): void {
    this.#keys.set(key, { partition, from: Math.min(position, this.from(key)), hasPassed: true });
  }

  delete(key: string): void {
    this.#keys.delete(key);
  }

  forget(partition: number): void {
    for (const [key, it] of this.#keys) if (it.partition === partition) this.#keys.delete(key);
  }

  /** Notes that a page passes over a message. */
  pass(key: string, position: number): void {
    const resumed = this.#keys.get(key);
    if (resumed && position >= resumed.from) resumed.hasPassed = true;
  }

  /** Removes the keys that have caught up: they are read with the pages again. */
  deleteCaughtUp(): void {
    for (const [key, { hasPassed }] of this.#keys) if (!hasPassed) this.#keys.delete(key);
  }

  /**
   * Reads the first messages of some keys.
   * @returns those that can be sent, and by key the message that holds it: such a key is not read any more
   */
  async read(
    lease: Connection,
    topic: string,
    hasRoom: (key: string) => boolean,
  ): Promise<{ due: OutboxRow[]; held: OutboxRow[] }> {
    const keys = [
      ...this.#keys
        .entries()
        .filter(([key]) => hasRoom(key))
        .take(READ.messages),
    ];
    const result = { due: [] as OutboxRow[], held: [] as OutboxRow[] };
    if (keys.length === 0) return result;
    const ofKey = Math.min(READ.ofKey, Math.ceil(READ.messages / keys.length));
    for (const [, it] of keys) it.hasPassed = false;
    const rows = await readKeys(lease, topic, {
      keys: keys.map(([key]) => key),
      froms: keys.map(([, { from }]) => from),
      ofKey,
      limit: READ.messages,
    });
    const byKey = Map.groupBy(rows, ({ key }) => key);
    const isCut = rows.length >= READ.messages;
    let bytes = 0;
    for (const [key, resumed] of keys) {
      // Meanwhile it was held, or resumed from an earlier message.
      if (this.#keys.get(key) !== resumed) continue;
      const read = byKey.get(key) ?? [];
      bytes += read.reduce((sum, row) => sum + row.bytes, 0);
      // Beyond the limits a key may have more, or was not read at all.
      if ((isCut && read.length === 0) || (result.due.length > 0 && bytes > READ.bytes)) {
        resumed.hasPassed = true;
        continue;
      }
      const held = read.find(({ isHeld }) => isHeld);
      const due = held ? read.slice(0, read.indexOf(held)) : read;
      result.due.push(...due);
      this.#keys.delete(key);
      if (held) result.held.push(held);
      else {
        const from = (due.at(-1)?.position ?? resumed.from - 1) + 1;
        this.#keys.set(key, { partition: resumed.partition, from, hasPassed: isCut || due.length >= ofKey });
      }
    }
    return result;
  }
}
