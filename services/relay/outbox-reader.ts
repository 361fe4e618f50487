import { HeldKeys } from './held-keys.ts';
import { LateMessages } from './late-messages.ts';
import type { Lease } from './lease.ts';
import { PageSize } from './page-size.ts';
import {
  type OutboxMessage,
  type OutboxRow,
  readDue,
  readFirstOfKeys,
  readKeys,
  readPage,
  withEvents,
} from './reader-queries.ts';

/** Messages per batch. A batch costs memory (at most 16 MiB plus one message), and its partitions stay with this relay until it is done. */
const BATCH = { messages: 500, bytes: 16 * 1024 * 1024 };
/** Limit of a batch for messages left from the last one, and for those of resumed keys: other keys come with a page, which needs room. */
const REST = 150;
/** With this many resumed keys no page is read: they are kept in memory. */
const MOST_RESUMED = 5_000;
/** Rounds take at most a twentieth of the time. A round that waited for other statements must not cause a long pause; milliseconds. */
const ROUND = { share: 20, longestPauseMs: 10_000 };

/** A key that is read by itself, from this position, because it has messages before its partition's mark. */
interface Resumed {
  readonly partition: number;
  readonly from: number;
  /** Whether a page has passed over a message that was not read by key. */
  hasPassed: boolean;
}

type ReaderLease = Pick<Lease, 'query' | 'tenureOf'>;

/**
 * Reads one topic's messages under one lease. What cannot be sent is read once: each partition has a mark, up to which everything was read,
 * and the keys of held messages are known in memory. Keys that can go on are read before the mark, by key.
 *
 * A position is assigned before the commit, so a message can appear before the mark: a late message. A page therefore contains no key with a
 * late message, and searches find the late messages of all other keys (docs/decisions/0029).
 */
export class OutboxReader {
  readonly #topic: string;
  readonly #lease: ReaderLease;
  readonly #roundMs: number;
  readonly #marks = new Map<number, number>();
  /** By partition: how often the lease had acquired it when it was read first. */
  readonly #tenures = new Map<number, number>();
  readonly #late: LateMessages;
  readonly #held = new HeldKeys();
  readonly #resumed = new Map<string, Resumed>();
  /** Messages of the last batch that were neither sent nor held back. */
  #left: OutboxMessage[] = [];
  #nextRound = 0;
  readonly #pageSize = new PageSize(BATCH.messages);

  /** @param roundMs milliseconds between two rounds, at least */
  constructor(topic: string, lease: ReaderLease, roundMs: number) {
    this.#topic = topic;
    this.#lease = lease;
    this.#roundMs = roundMs;
    this.#late = new LateMessages(topic, lease);
  }

  /**
   * Returns messages that may be published now, in the order of their positions, so that none waits for newer ones. `settle` has to follow.
   * @param partitions only messages of these partitions
   * @param except messages that are sent but not marked yet
   * @returns the batch, and whether the outbox may hold more
   */
  async read(
    partitions: readonly number[],
    except: ReadonlySet<string>,
  ): Promise<{ batch: OutboxMessage[]; hasMore: boolean }> {
    this.#keepOnly(partitions);
    try {
      const left = this.#left.filter(({ id }) => !except.has(id));
      const known = new Set([...except, ...left.map(({ id }) => id)]);
      if (performance.now() >= this.#nextRound) await this.#round(known);
      this.#resumeLate(await this.#late.recent(this.#marks), known);
      const rows = this.#resumed.size > 0 ? await this.#readResumed(known) : [];
      const page = this.#resumed.size < MOST_RESUMED ? await this.#readPage(known) : { rows: [], hasMore: true };
      // Keys that have caught up are read with the pages again.
      for (const [key, { hasPassed }] of this.#resumed) if (!hasPassed) this.#resumed.delete(key);
      const batch = [...left, ...(await withEvents(this.#lease, [...rows, ...page.rows]))];
      batch.sort((one, other) => one.position - other.position);
      return { batch, hasMore: page.hasMore || this.#resumed.size > 0 };
    } catch (error) {
      // Some may have been read and not returned: start over.
      this.#keepOnly([]);
      throw error;
    }
  }

  /**
   * Records what became of a batch: the rest of it comes with the next one, except what is behind a message that was held back.
   * @param sent ids of accepted messages
   * @param heldBack ids of messages that wait for their next attempt or are parked
   */
  settle(batch: readonly OutboxMessage[], sent: ReadonlySet<string>, heldBack: ReadonlySet<string>): void {
    this.#left = [];
    for (const message of batch) {
      const { id, orderingKey: key, partition, position } = message;
      if (sent.has(id)) continue;
      if (heldBack.has(id)) this.#hold(key, message);
      else if (this.#held.isBehind(key, position)) continue;
      else if (this.#left.length < REST) this.#left.push(message);
      else this.#resume(key, partition, position);
    }
  }

  #hold(key: string, message: Pick<OutboxRow, 'id' | 'partition' | 'position'>): void {
    this.#held.add(key, message);
    this.#resumed.delete(key);
  }

  /** Reads a key from a position on, or from an earlier one that is known already. */
  #resume(key: string, partition: number, position: number): void {
    const from = Math.min(position, this.#resumed.get(key)?.from ?? position, this.#held.from(key) ?? position);
    this.#resumed.set(key, { partition, from, hasPassed: true });
    this.#held.delete(key);
  }

  /** Forgets partitions that another relay may have changed meanwhile. */
  #keepOnly(partitions: readonly number[]): void {
    const kept = new Set(partitions);
    for (const [partition, tenure] of this.#tenures) {
      if (kept.has(partition) && tenure === this.#lease.tenureOf(partition)) continue;
      this.#tenures.delete(partition);
      this.#marks.delete(partition);
      this.#late.reset(partition);
      this.#left = this.#left.filter((message) => message.partition !== partition);
      this.#held.forget(partition);
      for (const [key, it] of this.#resumed) if (it.partition === partition) this.#resumed.delete(key);
    }
    for (const partition of partitions) {
      if (this.#tenures.has(partition)) continue;
      this.#tenures.set(partition, this.#lease.tenureOf(partition));
      this.#marks.set(partition, 0);
    }
  }

  async #readResumed(known: ReadonlySet<string>): Promise<OutboxRow[]> {
    const keys = [...this.#resumed].slice(0, REST);
    const ofKey = Math.ceil(REST / keys.length);
    for (const [, it] of keys) it.hasPassed = false;
    const rows = await readKeys(this.#lease, this.#topic, {
      keys: keys.map(([key]) => key),
      froms: keys.map(([, { from }]) => from),
      ofKey,
      limit: REST,
    });
    const byKey = Map.groupBy(rows, ({ key }) => key);
    const isCut = rows.length >= REST;
    const found: OutboxRow[] = [];
    let bytes = 0;
    for (const [key, resumed] of keys) {
      const read = byKey.get(key) ?? [];
      bytes += read.reduce((sum, row) => sum + row.bytes, 0);
      // Beyond the limits a key may have more, or was not read at all.
      if ((isCut && read.length === 0) || (found.length > 0 && bytes > BATCH.bytes)) {
        resumed.hasPassed = true;
        continue;
      }
      const held = read.find(({ isHeld }) => isHeld);
      const due = held ? read.slice(0, read.indexOf(held)) : read;
      found.push(...due.filter(({ id }) => !known.has(id)));
      this.#resumed.delete(key);
      if (held) this.#hold(key, held);
      else
        this.#resumed.set(key, {
          ...resumed,
          from: (due.at(-1)?.position ?? resumed.from - 1) + 1,
          hasPassed: isCut || due.length >= ofKey,
        });
    }
    return found;
  }

  /** Reads the messages after the marks, without those of held and resumed keys. */
  async #readPage(known: ReadonlySet<string>): Promise<{ rows: OutboxRow[]; hasMore: boolean }> {
    const marks = new Map(this.#marks);
    const { limit, share, isUsual } = this.#pageSize;
    const read = await readPage(this.#lease, this.#topic, { marks, share, limit, withEvents: isUsual });
    let hasMore = this.#pageSize.isFull(read);
    const rows: OutboxRow[] = [];
    let bytes = 0;
    for (const row of read) {
      const { key, id, position, partition } = row;
      const resumed = this.#resumed.get(key);
      const isSkipped = resumed || this.#held.has(key) || known.has(id);
      if (!isSkipped && row.isHeld) this.#hold(key, row);
      else if (!isSkipped) {
        bytes += row.bytes;
        if (rows.length >= BATCH.messages || (rows.length > 0 && bytes > BATCH.bytes)) {
          hasMore = true;
          break;
        }
        rows.push(row);
      }
      if (resumed && position >= resumed.from) resumed.hasPassed = true;
      this.#marks.set(partition, position);
    }
    this.#pageSize.adapt(read, rows.length);
    return { rows: await this.#withoutLate(rows, marks, known), hasMore };
  }

  /** Removes the keys that have late messages; these keys are read from there next. */
  async #withoutLate(
    rows: OutboxRow[],
    marks: ReadonlyMap<number, number>,
    known: ReadonlySet<string>,
  ): Promise<OutboxRow[]> {
    const partitions = new Map(rows.map(({ key, partition }) => [key, partition]));
    const ranges = [...partitions].map(([key, partition]) => {
      return { key, after: this.#late.safe(partition), upTo: marks.get(partition)! };
    });
    const late = await readFirstOfKeys(this.#lease, this.#topic, ranges, known);
    for (const { key, position } of late) this.#resume(key, partitions.get(key)!, position);
    return rows.filter(({ key }) => !this.#resumed.has(key));
  }

  /** Finds messages before the marks that can be sent now: due and released ones, and late ones. */
  async #round(known: ReadonlySet<string>): Promise<void> {
    const startedAt = performance.now();
    const due = await readDue(this.#lease, this.#topic, [...this.#marks.keys()], BATCH.messages);
    for (const { id, key, partition, position } of due)
      if (
        position <= this.#marks.get(partition)! &&
        !this.#resumed.has(key) &&
        !known.has(id) &&
        !this.#held.isBehind(key, position)
      )
        this.#resume(key, partition, position);
    for (const [key, { partition, position }] of await this.#held.verify(this.#lease))
      this.#resume(key, partition, position);
    const { rows, isComplete } = await this.#late.step(this.#marks);
    this.#resumeLate(rows, known);
    const endedAt = performance.now();
    const fair = Math.min(ROUND.longestPauseMs, ROUND.share * (endedAt - startedAt));
    this.#nextRound = endedAt + Math.max(isComplete ? this.#roundMs : 0, fair);
  }

  /** Resumes the keys of messages that are late: before the marks, and not known. */
  #resumeLate(rows: readonly OutboxRow[], known: ReadonlySet<string>): void {
    for (const { id, key, partition, position, isHeld } of rows) {
      const isKnown = isHeld || known.has(id) || position >= (this.#resumed.get(key)?.from ?? position + 1);
      if (!isKnown && !this.#held.startAt(key, position)) this.#resume(key, partition, position);
    }
  }
}
