import type { BulkResult } from '#eventing/dapr-publisher';
import type { Log } from '#process/log';
import { type Call, Faults, type Refused } from './faults.ts';
import type { Lease } from './lease.ts';
import { Marker } from './marker.ts';
import { entry, type OutboxMessage } from './message.ts';
import type { RelayOptions } from './options.ts';
import { backOff } from './outbox-queries.ts';
import { OutboxReader } from './outbox-reader.ts';
import { ReadyQueue } from './ready-queue.ts';

/** Concurrent calls, and their limits: daprd publishes up to 100 messages of a call concurrently. */
const CALLS = 4;
const CALL = { messages: 100, bytes: 4 * 1024 * 1024 };
/** Fewer ready keys are not divided among the senders: with 30 keys one call at a time was as fast as three. */
const SMALL_CALL = 32;
/** While no more keys are ready, more is read: enough for the next calls. Messages behind those in flight must not take all the room. */
const READ_AHEAD = { keys: 400, messages: 2_000, bytes: 8 * 1024 * 1024 };
/** Waiting messages that are kept while the circuit is open: messages of other keys need room. */
const KEPT = 150;
/** Pause between two searches for released and late messages. */
const ROUND_MS = 1_000;
/** PostgreSQL ends the connection of a frozen relay after 5 s: by then the lease has to be confirmed before the next call. */
const CERTAIN_MS = 3_500;

/**
 * Publishes the messages of one topic. Reading, several calls and marking run at the same time; each step that ends lets the next ones begin.
 * Topics do not wait for each other: order is kept per topic and key.
 */
export class TopicRelay {
  readonly faults: Faults;
  readonly #topic: string;
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #queue = new ReadyQueue();
  readonly #reader: OutboxReader;
  readonly #marker: Marker;
  readonly #log: Log;
  #partitions: ReadonlySet<number> = new Set();
  /** Steps in progress. */
  #steps = 0;
  #calls = 0;
  #isReading = false;
  #isMarking = false;
  #isConfirming = false;
  /** Whether new messages may have been committed since the last read. */
  #mayHaveNew = false;
  #hadWork = false;
  #failure: { readonly error: unknown } | undefined;
  #drain: { readonly stopping: AbortSignal; readonly end: () => void } | undefined;

  /**
   * @param unmarked keys, by id, of messages that are sent but not marked yet, also under earlier leases: they are marked first
   * @param onDue called when a probe of the open circuit is due
   */
  constructor(topic: string, lease: Lease, options: RelayOptions, unmarked: Map<string, string>, onDue: () => void) {
    this.#topic = topic;
    this.#lease = lease;
    this.#options = options;
    this.#log = options.log.child({ topic });
    this.#reader = new OutboxReader(topic, lease, this.#queue, unmarked, options.poll?.maxMs ?? ROUND_MS);
    this.#marker = new Marker(lease, unmarked, options.resendAfterSeconds, () => this.#begin());
    this.faults = new Faults(topic, options, onDue, (reason) => lease.drop(reason));
  }

  /**
   * Publishes until no message is due, the circuit admits none, or `stopping` is aborted; calls in flight are finished and marked.
   * @returns whether any message was accepted or held back
   * @throws when the lease is lost, or a statement took too long
   */
  async drain(stopping: AbortSignal): Promise<boolean> {
    using _ = this.#lease.keep({ has: (it) => this.#queue.isInFlight(it) || this.#marker.needs(it) });
    const { promise, resolve: end } = Promise.withResolvers<void>();
    await this.#marker.mark();
    this.#drain = { stopping, end };
    this.#failure = undefined;
    this.#hadWork = false;
    this.#mayHaveNew = true;
    this.#begin();
    await promise;
    if (this.#failure) throw (this.#failure as { error: unknown }).error;
    return this.#hadWork;
  }

  /** Lets a running `drain` read again, because there may be new messages. */
  wake(): void {
    this.#mayHaveNew = true;
    this.#begin();
  }

  /** Begins all steps that are possible now; ends the drain if there are none. */
  #begin(): void {
    if (!this.#drain) return;
    if (this.#lease.lost.aborted) this.#failure ??= { error: this.#lease.lost.reason };
    if (!this.#failure) {
      if (!this.#drain.stopping.aborted) this.#beginSending();
      const isIdle = this.#calls === 0;
      if (!this.#isMarking && (this.#marker.isDue || (isIdle && this.#marker.hasAny))) this.#run(this.#mark());
    }
    if (this.#steps > 0) return;
    if (this.faults.circuit.isOpen) for (const message of this.#queue.trim(KEPT)) this.#reader.resume(message);
    this.#marker.forget();
    this.#drain.end();
    this.#drain = undefined;
  }

  #beginSending(): void {
    if (this.#lease.ageMs > CERTAIN_MS) {
      if (!this.#isConfirming) this.#run(this.#confirmLease());
      return;
    }
    this.#forgetPartitions();
    if (this.#shouldRead()) this.#run(this.#read());
    for (let messages = this.#next(); messages.length > 0; messages = this.#next()) this.#run(this.#send(messages));
  }

  #run(step: Promise<void>): void {
    this.#steps++;
    void step
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#steps--;
        this.#begin();
      });
  }

  async #confirmLease(): Promise<void> {
    this.#isConfirming = true;
    await this.#lease.confirm().finally(() => {
      this.#isConfirming = false;
    });
  }

  /** Forgets messages of partitions that other relays have or had: they may have sent them, or hold them back. */
  #forgetPartitions(): void {
    if (this.#partitions === this.#lease.partitions) return;
    this.#partitions = this.#lease.partitions;
    this.#reader.keepOnly(this.#partitions);
    this.#queue.keepOnly((it) => this.#isOurs(it));
  }

  #isOurs(partition: number): boolean {
    return this.#lease.partitions.has(partition) && this.#reader.isCurrent(partition);
  }

  #shouldRead(): boolean {
    if (this.#isReading || this.faults.circuit.isShut) return false;
    const { ready, size, bytes } = this.#queue;
    if (ready > READ_AHEAD.keys || size > READ_AHEAD.messages || bytes > READ_AHEAD.bytes) return false;
    return this.#mayHaveNew || this.#reader.hasMore;
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    this.#mayHaveNew = false;
    await this.#reader.read(this.#lease.partitions).finally(() => {
      this.#isReading = false;
    });
  }

  /** Takes the messages of the next call. */
  #next(): readonly OutboxMessage[] {
    const { circuit, isProbing } = this.faults;
    if (circuit.isOpen) {
      // What is read now may have keys that were not tried yet.
      if (isProbing || this.#isReading) return [];
      const admitted = circuit.admit(this.#queue.heads());
      return admitted.map(({ orderingKey }) => this.#queue.takeOf(orderingKey));
    }
    const idle = CALLS - this.#calls;
    if (idle <= 0 || this.#marker.isFull) return [];
    const share = Math.max(SMALL_CALL, Math.ceil(this.#queue.ready / idle));
    return this.#queue.take(Math.min(share, CALL.messages), CALL.bytes);
  }

  async #send(messages: readonly OutboxMessage[]): Promise<void> {
    let rest = messages;
    try {
      const { call, result } = await this.#publish(messages);
      rest = messages.filter(({ id }) => !result.accepted.has(id));
      const judged = this.faults.judge(call, messages, result);
      // Other keys do not wait for the judgement.
      if (rest.length > 0) this.#begin();
      const refused = await judged;
      if (refused.length > 0) await this.#holdBack(refused);
      const heldBack = new Set(refused.map(({ message }) => message));
      rest = rest.filter((message) => !heldBack.has(message));
      this.#hadWork ||= rest.length < messages.length;
    } finally {
      for (const message of rest) this.#requeue(message);
    }
  }

  async #publish(messages: readonly OutboxMessage[]): Promise<{ call: Call; result: BulkResult }> {
    const call = this.faults.begin();
    let hasAccepted = false;
    this.#calls++;
    try {
      const result = await this.#options.publisher.publishBulk(this.#topic, messages.map(entry), this.#lease.lost);
      hasAccepted = result.accepted.size > 0;
      for (const message of messages) {
        if (!result.accepted.has(message.id)) continue;
        this.#marker.add(message);
        this.#queue.accept(message);
      }
      return { call, result };
    } finally {
      this.#calls--;
      this.faults.end(call, hasAccepted);
    }
  }

  async #holdBack(refused: readonly Refused<OutboxMessage>[]): Promise<void> {
    const rows = refused.map(({ message, error, isPoison }) => ({ id: message.id, error, counts: isPoison }));
    for (const { parked, ...held } of await backOff(this.#lease, rows, this.#options.retryPolicy)) {
      if (parked) this.#log.error(held, 'message parked: it and its key wait for an operator');
      else this.#log.debug(held, 'message failed, retrying: its key waits');
    }
    for (const { message } of refused) {
      this.#reader.hold(message);
      this.#queue.drop(message);
    }
  }

  #requeue(message: OutboxMessage): void {
    if (this.#isOurs(message.partition)) this.#queue.requeue(message);
    else this.#queue.drop(message);
  }

  async #mark(): Promise<void> {
    this.#isMarking = true;
    await this.#marker.mark().finally(() => {
      this.#isMarking = false;
    });
  }
}
