import { type Connection, type OutboxRow, readRanges, readTransactions, type Transactions } from './reader-queries.ts';

/** An INSERT takes a position and then a transaction id: this long after the position it has both. Milliseconds. */
const GRACE_MS = 5_000;
/** Messages per partition and step, and positions: between them only dead index entries may be. */
const STEP = 100;
const STEP_POSITIONS = 50_000;
/** Most transactions commit within this time of taking a position. Milliseconds. */
const RECENT_MS = 300;
/** Pause of looking for them while more messages wait anyway. Milliseconds. */
const BUSY_MS = 1_000;
/** Enough for a minute or two; while a long transaction runs, none is dropped. */
const MAX_CHECKPOINTS = 100;

/** What was read when, and the first transaction id that was free later. */
interface Checkpoint {
  readonly at: number;
  readonly marks: ReadonlyMap<number, number>;
  nextTransaction?: bigint;
}

/** One pass over all messages between the safe positions and the marks. */
interface Sweep {
  readonly at: number;
  readonly marks: ReadonlyMap<number, number>;
  readonly transactions: Transactions;
  /** By partition: the position to continue after. */
  readonly cursors: Map<number, number>;
}

/**
 * Sweeps over the messages that were read before, step by step, to find those that appeared later. It begins at the safe positions: every
 * transaction that can have an earlier position had ended when an earlier sweep began.
 */
export class LateMessages {
  readonly #topic: string;
  readonly #lease: Connection;
  readonly #safe = new Map<number, number>();
  readonly #checkpoints: Checkpoint[] = [];
  #sweep: Sweep | undefined;
  /** The marks of the last moments, oldest first. */
  #recent: Pick<Sweep, 'at' | 'marks'>[] = [];

  constructor(topic: string, lease: Connection) {
    this.#topic = topic;
    this.#lease = lease;
  }

  /** Returns the position up to which no message of a partition can appear. */
  safe(partition: number): number {
    return this.#safe.get(partition) ?? 0;
  }

  /** Starts over with a partition that another relay may have had. */
  reset(partition: number): void {
    this.#safe.delete(partition);
    this.#checkpoints.length = 0;
    this.#sweep = undefined;
    this.#recent = [];
  }

  /**
   * Returns the messages between the marks of a moment ago and those of now: one that was committed in between is late by little.
   * @param isBusy whether more messages wait anyway: then it is enough to look now and then
   */
  async recent(marks: ReadonlyMap<number, number>, isBusy: boolean): Promise<OutboxRow[]> {
    const now = performance.now();
    if (isBusy && now - (this.#recent.at(-1)?.at ?? 0) < BUSY_MS) return [];
    const old = this.#recent.findLastIndex(({ at }) => at <= now - RECENT_MS);
    this.#recent = [...this.#recent.slice(Math.max(0, old)), { at: now, marks: new Map(marks) }];
    const before = this.#recent[0]!.marks;
    const ranges = [...marks].map(([partition, upTo]) => ({ partition, after: before.get(partition) ?? 0, upTo }));
    const moved = ranges.filter(({ after, upTo }) => after < upTo);
    return moved.length > 0 ? await readRanges(this.#lease, this.#topic, moved, STEP) : [];
  }

  /**
   * Takes a step.
   * @param marks by partition: the position up to which messages were read
   * @returns messages up to there, known ones as well, and whether this sweep is complete
   */
  async step(marks: ReadonlyMap<number, number>): Promise<{ rows: OutboxRow[]; isComplete: boolean }> {
    this.#sweep ??= {
      at: performance.now(),
      marks: new Map(marks),
      transactions: await readTransactions(this.#lease),
      cursors: new Map([...marks.keys()].map((partition) => [partition, this.safe(partition)])),
    };
    const { cursors, marks: targets } = this.#sweep;
    const ranges = [...cursors].map(([partition, after]) => ({
      partition,
      after,
      upTo: Math.min(targets.get(partition)!, after + STEP_POSITIONS),
    }));
    const rows = await readRanges(this.#lease, this.#topic, ranges, STEP);
    const counts = Map.groupBy(rows, ({ partition }) => partition);
    for (const { partition, upTo } of ranges) {
      const read = counts.get(partition) ?? [];
      const after = read.length < STEP ? upTo : read.at(-1)!.position;
      if (after < targets.get(partition)!) cursors.set(partition, after);
      else cursors.delete(partition);
    }
    const isComplete = cursors.size === 0;
    if (isComplete) this.#finish(this.#sweep);
    return { rows, isComplete };
  }

  #finish({ at, marks, transactions: { oldest, next } }: Sweep): void {
    this.#sweep = undefined;
    const ended = this.#checkpoints.filter(({ nextTransaction }) => nextTransaction && nextTransaction <= oldest);
    for (const [partition, mark] of ended.at(-1)?.marks ?? []) this.#safe.set(partition, mark);
    this.#checkpoints.splice(0, ended.length);
    for (const it of this.#checkpoints) if (it.at <= at - GRACE_MS) it.nextTransaction ??= next;
    if (this.#checkpoints.length < MAX_CHECKPOINTS) this.#checkpoints.push({ at, marks });
  }
}
