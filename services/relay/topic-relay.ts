import type { BulkResult } from '#eventing/dapr-publisher';
import type { Log } from '#process/log';
import { Circuit } from './circuit.ts';
import type { Lease } from './lease.ts';
import type { RelayOptions } from './options.ts';
import { backOff, markRelayed } from './outbox-queries.ts';
import { OutboxReader } from './outbox-reader.ts';
import { PoisonDetector } from './poison-detector.ts';
import { entry, fullWaves, type Message } from './waves.ts';

/** Time that daprd may be unreachable before the relay releases its partitions to other relays. */
const UNREACHABLE_MS = 5_000;
/** Pause between two searches for released and late messages. */
const ROUND_MS = 1_000;
/** Waves per batch: with few keys they are small, and other keys may have new messages. */
const MOST_WAVES = 50;
const NONE: ReadonlyMap<string, string> = new Map();

/** Publishes the messages of one topic, wave by wave. Topics do not wait for each other: order is kept per topic and key. */
export class TopicRelay {
  readonly circuit: Circuit;
  readonly #topic: string;
  readonly #lease: Lease;
  readonly #reader: OutboxReader;
  readonly #options: RelayOptions;
  readonly #onDue: () => void;
  readonly #log: Log;
  readonly #poison = new PoisonDetector();
  readonly #unmarked: Set<string>;
  #unreachableSince: number | undefined;

  /**
   * @param unmarked ids of messages that are sent but not marked yet, also under earlier leases: they are marked before anything else
   * @param onDue called when a probe of the open circuit is due
   */
  constructor(topic: string, lease: Lease, options: RelayOptions, unmarked: Set<string>, onDue: () => void) {
    this.#topic = topic;
    this.#unmarked = unmarked;
    this.#lease = lease;
    this.#reader = new OutboxReader(topic, lease, options.poll?.maxMs ?? ROUND_MS);
    this.circuit = new Circuit(options.backoff);
    this.#options = options;
    this.#onDue = onDue;
    this.#log = options.log.child({ topic });
  }

  /**
   * Publishes until no message is due, the circuit admits none, or `stopping` is aborted; a wave in flight is finished.
   * @returns whether any batch was processed
   * @throws when the lease is lost
   */
  async drain(stopping: AbortSignal): Promise<boolean> {
    if (this.#unmarked.size > 0) await this.#mark([]);
    let hadWork = false;
    while (!stopping.aborted && !this.circuit.isShut && (await this.#relayBatch(stopping))) hadWork = true;
    return hadWork;
  }

  /** @returns whether the next batch may be claimed immediately */
  async #relayBatch(stopping: AbortSignal): Promise<boolean> {
    using hold = this.#lease.hold();
    const { batch, hasMore } = await this.#reader.read(hold.partitions, this.#unmarked);
    hold.narrow(batch.map(({ partition }) => partition));
    let leased: readonly number[] = hold.partitions;
    const sent = new Set<string>();
    const heldBack = new Set<string>();
    try {
      for (const wave of fullWaves(batch, hasMore).slice(0, MOST_WAVES)) {
        const admitted = this.circuit.admit(wave);
        if (stopping.aborted || admitted.some(({ partition }) => !leased.includes(partition))) return true;
        if (admitted.length === 0) return false;
        const result = await this.#publish(admitted);
        for (const id of result.accepted) sent.add(id);
        for (const id of result.heldBack) heldBack.add(id);
        leased = await this.#mark(result.accepted);
        // The rest of the batch may hold later messages of the keys that were not accepted.
        if (result.accepted.size < wave.length) return result.accepted.size + result.heldBack.length > 0;
      }
    } finally {
      this.#reader.settle(batch, sent, heldBack);
    }
    return batch.length > 0 || hasMore;
  }

  /** Publishes one wave, updates the circuit and the poison detector, and backs off failed messages. */
  async #publish(wave: readonly Message[]): Promise<{ accepted: ReadonlySet<string>; heldBack: readonly string[] }> {
    const isProbe = this.circuit.isOpen;
    const result = await this.#options.publisher.publishBulk(this.#topic, wave.map(entry), this.#lease.lost);
    const { accepted, failed, malformed } = result;
    // Before anything can fail: what is accepted must not be sent again.
    for (const id of accepted) this.#unmarked.add(id);
    const poisonIds = this.#poison.findPoison(accepted, failed.keys(), isProbe);
    if (result.outage) {
      this.recordResult(wave, result);
      return { accepted, heldBack: [] };
    }
    for (const id of malformed) poisonIds.add(id);
    // Refused while others were accepted, or poison: hold back this message. Otherwise it is an outage, and no message is touched.
    const failures = [...failed].filter(([id]) => accepted.size > 0 || poisonIds.has(id));
    this.recordResult(wave, failures.length > 0 ? { accepted, failed: NONE } : result);
    if (failures.length > 0) await this.#backOff(failures, poisonIds);
    return { accepted, heldBack: failures.map(([id]) => id) };
  }

  /** Opens or closes the circuit according to the result of a wave. */
  recordResult(
    wave: readonly Message[],
    { accepted, failed, outage }: Pick<BulkResult, 'accepted' | 'failed' | 'outage'>,
  ): void {
    if (outage) this.#open(outage.kind, outage.message, wave.length === 1 ? keysOf(wave) : []);
    else if (accepted.size > 0) this.#close();
    else if (failed.size > 0) this.#open('refused', [...failed.values()][0]!, keysOf(wave));
  }

  #close(): void {
    this.#unreachableSince = undefined;
    this.#options.sidecar?.reportSuccess(this.#topic);
    if (this.circuit.close()) this.#log.info('publishing resumed');
  }

  #open(cause: string, message: string, keys: readonly string[]): void {
    const hasChanged = this.circuit.open(cause, keys);
    setTimeout(this.#onDue, this.circuit.waitMs).unref();
    // A restart of daprd cannot fix a configuration, and an unreachable daprd cannot be restarted from here.
    if (cause === 'refused' || cause === 'unexpected-answer')
      void this.#options.sidecar?.reportFailure(this.#topic, message);
    else this.#options.sidecar?.reportSuccess(this.#topic);
    this.#releaseLeaseWithoutSidecar(cause);
    if (!hasChanged) return;
    const level = cause === 'configuration' ? 'error' : 'warn';
    this.#log[level]({ cause, reason: message }, 'publishing failed, probing: messages wait, no attempts are spent');
  }

  /** Releases the lease once daprd is unreachable for too long: other relays have sidecars of their own. */
  #releaseLeaseWithoutSidecar(cause: string): void {
    const isUnreachable = cause === 'unreachable' || cause === 'time-out';
    this.#unreachableSince = isUnreachable ? (this.#unreachableSince ?? performance.now()) : undefined;
    if (this.#options.ready && isUnreachable && performance.now() - this.#unreachableSince! > UNREACHABLE_MS)
      this.#lease.drop(new Error('The sidecar is unreachable: releasing the partitions to other relays'));
  }

  async #backOff(failures: [string, string][], poisonIds: ReadonlySet<string>): Promise<void> {
    const rows = failures.map(([id, error]) => ({ id, error, counts: poisonIds.has(id) }));
    for (const { parked, ...held } of await backOff(this.#lease, rows, this.#options.retryPolicy)) {
      if (parked) this.#log.error(held, 'message parked: it and its key wait for an operator');
      else this.#log.debug(held, 'message failed, retrying: its key waits');
    }
  }

  /** Marks messages as sent. Accepted ids are remembered until they are marked, even across leases: otherwise they would be sent again. */
  async #mark(accepted: Iterable<string>): Promise<readonly number[]> {
    for (const id of accepted) this.#unmarked.add(id);
    const ids = [...this.#unmarked];
    const { locked, partitions } = await markRelayed(this.#lease, ids, this.#options.resendAfterSeconds);
    const remaining = new Set(locked);
    for (const id of ids) if (!remaining.has(id)) this.#unmarked.delete(id);
    return partitions;
  }
}

const keysOf = (wave: readonly Message[]): string[] => wave.map(({ orderingKey }) => orderingKey);
