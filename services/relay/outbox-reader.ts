import { HeldKeys } from './held-keys.ts';
import { LateMessages } from './late-messages.ts';
import type { Lease } from './lease.ts';
import type { OutboxMessage } from './message.ts';
import { PageSize } from './page-size.ts';
import { type OutboxRow, readDue, readFirstOfKeys, readPage, withEvents } from './reader-queries.ts';
import type { ReadyQueue } from './ready-queue.ts';
import { ResumedKeys } from './resumed-keys.ts';

/** Limits of a page. Its bytes come on top of those that wait in the queue. */
const PAGE = { messages: 500, bytes: 8 * 1024 * 1024 };
/** With this many resumed keys no page is read: they are kept in memory. */
const MOST_RESUMED = 5_000;
/** Rounds take at most a twentieth of the time. A round that waited for other statements must not cause a long pause; milliseconds. */
const ROUND = { share: 20, longestPauseMs: 10_000 };

/** A tenure that no partition has. */
const NEVER = -1;

type ReaderLease = Pick<Lease, 'query' | 'tenureOf'>;
type Queue = Pick<ReadyQueue, 'has' | 'idsOf' | 'hasRoom' | 'add'>;
type Place = Pick<OutboxMessage, 'id' | 'orderingKey' | 'partition' | 'position'>;

/**
 * Reads one topic's messages under one lease, into the queue. What cannot be sent is read once: each partition has a mark, up to which
 * everything was read, and the keys of held messages are known in memory. Keys that can go on are read before the mark, by key.
 *
 * A position is assigned before the commit, so a message can appear before the mark: a late message. A page therefore contains no key with a
 * late message, and searches find the late messages of all other keys (docs/decisions/0029).
 *
 * Messages are accepted, marked and held back while a statement runs. So what is known is asked as soon as a result is there: the marks of
 * the messages in it can only follow, because the lease runs one statement after another.
 */
export class OutboxReader {
  readonly #topic: string;
  readonly #lease: ReaderLease;
  readonly #queue: Queue;
  readonly #unmarked: ReadonlyMap<string, string>;
  readonly #roundMs: number;
  readonly #marks = new Map<number, number>();
  /** By partition: how often the lease had acquired it when it was read first. */
  readonly #tenures = new Map<number, number>();
  readonly #late: LateMessages;
  readonly #held = new HeldKeys();
  readonly #resumed = new ResumedKeys();
  #hasMorePages = false;
  #nextRound = 0;
  readonly #pageSize = new PageSize(PAGE.messages);

  /**
   * @param unmarked keys, by id, of messages that are sent but not marked yet
   * @param roundMs milliseconds between two rounds, at least
   */
  constructor(topic: string, lease: ReaderLease, queue: Queue, unmarked: ReadonlyMap<string, string>, roundMs: number) {
    this.#topic = topic;
    this.#lease = lease;
    this.#queue = queue;
    this.#unmarked = unmarked;
    this.#roundMs = roundMs;
    this.#late = new LateMessages(topic, lease);
  }

  /** Whether the outbox may hold more messages that the queue has room for. */
  get hasMore(): boolean {
    return this.#hasMorePages || this.#resumed.some((key) => this.#queue.hasRoom(key));
  }

  /** Whether what was read of a partition is still up to date: no other relay had it meanwhile. */
  isCurrent(partition: number): boolean {
    return this.#tenures.get(partition) === this.#lease.tenureOf(partition);
  }

  /** Forgets all other partitions, also those that are being read. */
  keepOnly(partitions: ReadonlySet<number>): void {
    for (const it of this.#tenures.keys()) if (!partitions.has(it)) this.#tenures.set(it, NEVER);
  }

  /**
   * Reads messages that may be published now into the queue, oldest first.
   * @param partitions only messages of these partitions
   */
  async read(partitions: ReadonlySet<number>): Promise<void> {
    this.#start(partitions);
    try {
      if (performance.now() >= this.#nextRound) await this.#round();
      this.#resumeLate(await this.#late.recent(this.#marks, this.#hasMorePages));
      const rows = this.#resumed.size > 0 ? await this.#readResumed() : [];
      const page = this.#resumed.size < MOST_RESUMED ? await this.#readPage() : { rows: [], hasMore: true };
      this.#resumed.deleteCaughtUp();
      this.#hasMorePages = page.hasMore;
      const messages = await withEvents(this.#lease, [...rows, ...page.rows]);
      for (const message of messages.toSorted((one, other) => one.position - other.position)) this.#add(message);
    } catch (error) {
      // Some may have been read and not added: start over.
      this.keepOnly(new Set());
      throw error;
    }
  }

  /** Adds a message to the queue, unless its key was held or has to be read again from an earlier message meanwhile. */
  #add(message: OutboxMessage): void {
    const { orderingKey: key, partition, position } = message;
    const isReadAgain = position >= this.#resumed.from(key);
    if (!this.isCurrent(partition) || this.#held.isBehind(key, position) || isReadAgain) return;
    if (!this.#queue.add(message)) this.#resume(key, partition, position);
  }

  #isKnown(id: string): boolean {
    return this.#queue.has(id) || this.#unmarked.has(id);
  }

  /** Holds a key at a message that waits for its next attempt or is parked. */
  hold(message: Place): void {
    if (this.isCurrent(message.partition)) this.#hold(message.orderingKey, message);
  }

  /** Reads a key again from a message that was removed from the queue. */
  resume({ orderingKey: key, partition, position }: Place): void {
    if (this.isCurrent(partition) && !this.#held.isBehind(key, position)) this.#resume(key, partition, position);
  }

  #hold(key: string, message: Pick<OutboxRow, 'id' | 'partition' | 'position'>): void {
    this.#held.add(key, message);
    this.#resumed.delete(key);
  }

  /** Reads a key from a position on, or from an earlier one that is known already. */
  #resume(key: string, partition: number, position: number): void {
    this.#resumed.add(key, partition, Math.min(position, this.#held.from(key) ?? position));
    this.#held.delete(key);
  }

  /** Starts over with partitions that another relay may have changed meanwhile. */
  #start(partitions: ReadonlySet<number>): void {
    for (const partition of this.#tenures.keys()) {
      if (partitions.has(partition) && this.isCurrent(partition)) continue;
      this.#tenures.delete(partition);
      this.#marks.delete(partition);
      this.#late.reset(partition);
      this.#held.forget(partition);
      this.#resumed.forget(partition);
    }
    for (const partition of partitions) {
      if (this.#tenures.has(partition)) continue;
      this.#tenures.set(partition, this.#lease.tenureOf(partition));
      this.#marks.set(partition, 0);
    }
  }

  async #readResumed(): Promise<OutboxRow[]> {
    const { due, held } = await this.#resumed.read(this.#lease, this.#topic, (key) => this.#queue.hasRoom(key));
    for (const row of held) this.#hold(row.key, row);
    return due.filter(({ id }) => !this.#isKnown(id));
  }

  /** Reads the messages after the marks, without those of held and resumed keys. */
  async #readPage(): Promise<{ rows: OutboxRow[]; hasMore: boolean }> {
    const marks = new Map(this.#marks);
    const { limit, share, isUsual } = this.#pageSize;
    const read = await readPage(this.#lease, this.#topic, { marks, share, limit, withEvents: isUsual });
    let hasMore = this.#pageSize.isFull(read);
    const rows: OutboxRow[] = [];
    let bytes = 0;
    for (const row of read) {
      const { key, id, position, partition } = row;
      const isSkipped = this.#resumed.has(key) || this.#held.has(key) || this.#isKnown(id);
      if (!isSkipped && row.isHeld) this.#hold(key, row);
      else if (!isSkipped) {
        bytes += row.bytes;
        if (rows.length >= PAGE.messages || (rows.length > 0 && bytes > PAGE.bytes)) {
          hasMore = true;
          break;
        }
        rows.push(row);
      }
      this.#resumed.pass(key, position);
      this.#marks.set(partition, position);
    }
    this.#pageSize.adapt(read, rows.length);
    return { rows: await this.#withoutLate(rows, marks), hasMore };
  }

  /** Removes the keys that have late messages; these keys are read from there next. */
  async #withoutLate(rows: OutboxRow[], marks: ReadonlyMap<number, number>): Promise<OutboxRow[]> {
    const partitions = new Map(rows.map(({ key, partition }) => [key, partition]));
    const ranges = [...partitions]
      .map(([key, partition]) => ({ key, after: this.#late.safe(partition), upTo: marks.get(partition)! }))
      .filter(({ after, upTo }) => after < upTo);
    if (ranges.length === 0) return rows;
    const unmarked = [...this.#unmarked].filter(([, key]) => partitions.has(key)).map(([id]) => id);
    const known = ranges.flatMap(({ key }) => this.#queue.idsOf(key));
    const late = await readFirstOfKeys(this.#lease, this.#topic, ranges, [...unmarked, ...known]);
    for (const { key, position } of late) this.#resume(key, partitions.get(key)!, position);
    return rows.filter(({ key }) => !this.#resumed.has(key));
  }

  /** Finds messages before the marks that can be sent now: due and released ones, and late ones. */
  async #round(): Promise<void> {
    const startedAt = performance.now();
    const due = await readDue(this.#lease, this.#topic, [...this.#marks.keys()], PAGE.messages);
    for (const { id, key, partition, position } of due)
      if (
        position <= this.#marks.get(partition)! &&
        !this.#resumed.has(key) &&
        !this.#isKnown(id) &&
        !this.#held.isBehind(key, position)
      )
        this.#resume(key, partition, position);
    for (const [key, { partition, position }] of await this.#held.verify(this.#lease))
      this.#resume(key, partition, position);
    const { rows, isComplete } = await this.#late.step(this.#marks);
    this.#resumeLate(rows);
    const endedAt = performance.now();
    const fair = Math.min(ROUND.longestPauseMs, ROUND.share * (endedAt - startedAt));
    this.#nextRound = endedAt + Math.max(isComplete ? this.#roundMs : 0, fair);
  }

  /** Resumes the keys of messages that are late: before the marks, and not known. */
  #resumeLate(rows: readonly OutboxRow[]): void {
    for (const { id, key, partition, position, isHeld } of rows) {
      const isKnown = isHeld || this.#isKnown(id) || position >= this.#resumed.from(key);
      if (!isKnown && !this.#held.startAt(key, position)) this.#resume(key, partition, position);
    }
  }
}
