import { HeldKeys } from './held-keys.ts';
import { LateMessages } from './late-messages.ts';
import type { Lease } from './lease.ts';
import { type OutboxRow, readDue, readFirstOfKeys, readKeys, readPage, withEvents } from './reader-queries.ts';
import type { Message } from './waves.ts';

/** Messages per batch. A batch costs memory (at most 16 MiB plus one message), and its partitions stay with this relay until it is done. */
const BATCH = 500;
const BATCH_BYTES = 16 * 1024 * 1024;
/** Messages per page while nearly all of them are held: without their events they are small. */
const LONG_PAGE = 2_000;
/** With this many messages left from the last batch no others are read. */
const ENOUGH = BATCH / 2;
/** Keys whose last sent message is remembered. Forgetting one costs a longer index scan. */
const REMEMBERED = 50_000;
/** Rounds take at most a twentieth of the time. The limit is for those that waited for other statements; milliseconds. */
const ROUND_SHARE = 20;
const LONGEST_PAUSE_MS = 10_000;

/** A key that is read by itself, from this position, because its messages are behind the mark. */
interface Resumed {
  readonly partition: number;
  readonly from: number;
  /** Whether a page has passed over a message that was not read by key. */
  hasPassed: boolean;
}

export type ReaderLease = Pick<Lease, 'query' | 'tenureOf'>;

/** A message that can be sent, with its place in the outbox. */
export interface OutboxMessage extends Message {
  readonly position: number;
}

/**
 * Reads one topic's messages under one lease. What cannot be sent is read once: each partition has a mark, up to which everything was read,
 * and the keys of held messages are known in memory. Only keys that can go on are read behind the mark, by key.
 *
 * A position is assigned before the commit, so a message may appear behind the mark. Of one key, positions are in the order of the commits,
 * because the aggregate's head is locked. So before a key is sent its earlier messages are looked up. Rounds find the late messages of
 * other keys, and released ones. Neither looks further back than LateMessages says.
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
  /** By key: the position of the message that was sent last. */
  readonly #sent = new Map<string, number>();
  #nextRound = 0;
  #activePartitions = 32;
  #pageLimit = BATCH;

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
      const rows = left.length < ENOUGH && this.#resumed.size > 0 ? await this.#readResumed(known) : [];
      const page = left.length + rows.length < ENOUGH ? await this.#readPage(known) : { rows: [], hasMore: true };
      const batch = [...left, ...(await withEvents(this.#lease, [...rows, ...page.rows])).map(messageOf)];
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
      const { id, orderingKey: key, position } = message;
      if (sent.has(id)) this.#remember(key, position);
      else if (heldBack.has(id)) {
        this.#held.add(key, message);
        this.#resumed.delete(key);
      } else if (!this.#held.has(key)) this.#left.push(message);
    }
  }

  #remember(key: string, position: number): void {
    this.#sent.delete(key);
    this.#sent.set(key, position);
    if (this.#sent.size > REMEMBERED) this.#sent.delete(this.#sent.keys().next().value!);
  }

  #resume(key: string, partition: number, from: number): void {
    const before = this.#resumed.get(key)?.from ?? Number.POSITIVE_INFINITY;
    this.#resumed.set(key, { partition, from: Math.min(before, from), hasPassed: true });
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
    const keys = [...this.#resumed].slice(0, BATCH);
    const ofKey = Math.ceil(BATCH / keys.length);
    for (const [, it] of keys) it.hasPassed = false;
    const rows = await readKeys(this.#lease, this.#topic, {
      keys: keys.map(([key]) => key),
      froms: keys.map(([, { from }]) => from),
      ofKey,
      limit: BATCH,
    });
    const byKey = Map.groupBy(rows, ({ key }) => key);
    const isCut = rows.length >= BATCH;
    const found: OutboxRow[] = [];
    for (const [key, resumed] of keys) {
      const read = byKey.get(key) ?? [];
      // Beyond the limit of the whole page a key may have more, or was not read at all.
      if (isCut && read.length === 0) {
        resumed.hasPassed = true;
        continue;
      }
      const held = read.find(({ isHeld }) => isHeld);
      const due = held ? read.slice(0, read.indexOf(held)) : read;
      found.push(...due.filter(({ id }) => !known.has(id)));
      this.#resumed.delete(key);
      if (held) this.#held.add(key, held);
      else
        this.#resumed.set(key, {
          ...resumed,
          from: (due.at(-1)?.position ?? resumed.from - 1) + 1,
          hasPassed: isCut || due.length >= ofKey,
        });
    }
    return found;
  }

  /** Reads on behind the marks, past the messages of held and resumed keys. */
  async #readPage(known: ReadonlySet<string>): Promise<{ rows: OutboxRow[]; hasMore: boolean }> {
    const marks = new Map(this.#marks);
    // Every partition has room in a batch, and few rows are read that do not fit in.
    const limit = this.#pageLimit;
    const share = Math.ceil((2 * limit) / this.#activePartitions);
    const read = await readPage(this.#lease, this.#topic, { marks, share, limit, withEvents: limit === BATCH });
    const counts = Map.groupBy(read, ({ partition }) => partition);
    this.#activePartitions = Math.max(1, counts.size);
    let hasMore = read.length >= limit || [...counts.values()].some(({ length }) => length >= share);
    const rows: OutboxRow[] = [];
    let bytes = 0;
    for (const row of read) {
      const { key, id, position, partition } = row;
      const resumed = this.#resumed.get(key);
      const isSkipped = resumed || this.#held.has(key) || known.has(id);
      if (!isSkipped && !row.isHeld) {
        bytes += row.bytes;
        if (rows.length >= BATCH || (rows.length > 0 && bytes > BATCH_BYTES)) {
          hasMore = true;
          break;
        }
        rows.push(row);
      }
      if (!isSkipped && row.isHeld) this.#held.add(key, row);
      if (resumed && position >= resumed.from) resumed.hasPassed = true;
      this.#marks.set(partition, position);
    }
    this.#pageLimit = rows.length * 10 < read.length ? LONG_PAGE : BATCH;
    // Keys that have caught up are read with the pages again.
    for (const [key, { hasPassed }] of this.#resumed) if (!hasPassed) this.#resumed.delete(key);
    return { rows: await this.#withoutLate(rows, marks, known), hasMore };
  }

  /** Removes the messages of keys that have earlier ones behind the marks; these keys are read from there next. */
  async #withoutLate(
    rows: OutboxRow[],
    marks: ReadonlyMap<number, number>,
    known: ReadonlySet<string>,
  ): Promise<OutboxRow[]> {
    const partitions = new Map(rows.map(({ key, partition }) => [key, partition]));
    const ranges = [...partitions]
      .map(([key, partition]) => ({
        key,
        after: Math.max(this.#late.safe(partition), this.#sent.get(key) ?? 0),
        upTo: marks.get(partition)!,
      }))
      .filter(({ after, upTo }) => after < upTo);
    if (ranges.length === 0) return rows;
    const late = await readFirstOfKeys(this.#lease, this.#topic, ranges, known);
    for (const { key, position } of late) this.#resume(key, partitions.get(key)!, position);
    return rows.filter(({ key }) => !this.#resumed.has(key));
  }

  /** Finds messages that may be sent now although the marks are past them: released ones, and those that were committed late. */
  async #round(known: ReadonlySet<string>): Promise<void> {
    const startedAt = performance.now();
    const due = await readDue(this.#lease, this.#topic, [...this.#marks.keys()], BATCH);
    for (const { id, key, partition, position } of due)
      if (position <= this.#marks.get(partition)! && !this.#resumed.has(key) && !known.has(id))
        this.#resume(key, partition, position);
    for (const [key, { partition, position }] of await this.#held.verify(this.#lease))
      this.#resume(key, partition, position);
    const { rows, isComplete } = await this.#late.step(this.#marks);
    for (const { id, key, partition, position, isHeld } of rows)
      if (!isHeld && !known.has(id) && !this.#held.has(key) && !this.#resumed.has(key))
        this.#resume(key, partition, position);
    const endedAt = performance.now();
    const fair = Math.min(LONGEST_PAUSE_MS, ROUND_SHARE * (endedAt - startedAt));
    this.#nextRound = endedAt + Math.max(isComplete ? this.#roundMs : 0, fair);
  }
}

const messageOf = ({ key, ...row }: OutboxRow & { event: string }): OutboxMessage => ({ ...row, orderingKey: key });
