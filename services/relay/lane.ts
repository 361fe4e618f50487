import type { BulkEntry, BulkResult, DaprPublisher } from '#eventing/dapr-publisher';
import type { Sidecar } from '#eventing/sidecar';
import type { Log } from '#service/log';
import { type Backoff, Circuit } from './circuit.ts';
import type { Lease } from './lease.ts';
import { claimBatch, holdBack, markRelayed, type Patience } from './outbox-queries.ts';
import { Suspects } from './suspects.ts';
import { fullWaves, type Message } from './waves.ts';

export type Publisher = Pick<DaprPublisher, 'publishBulk'>;

export interface RelayOptions {
  readonly databaseUrl: string;
  readonly publisher: Publisher;
  /** Is told when nothing can be published, and may restart daprd. */
  readonly sidecar?: Pick<Sidecar, 'suspect' | 'trust'>;
  /** After which a message that has not come back is sent again. */
  readonly resendAfterSeconds: number;
  readonly log: Log;
  readonly backoff?: Backoff;
  readonly patience?: Patience;
  /** Milliseconds between two looks into the outbox. */
  readonly poll?: Backoff;
  /** Passes while this relay's own daprd answers: without it, others had better have the partitions. */
  readonly ready?: () => Promise<void>;
  /** Milliseconds between two batches of what is sent again. */
  readonly resendPauseMs?: number;
}

/** How long to wait for one's own daprd before others get the partitions. */
const UNREACHABLE_MS = 5_000;
const NONE: ReadonlyMap<string, string> = new Map();

export const entry = ({ id, orderingKey, event }: Message): BulkEntry => ({
  entryId: id,
  event,
  metadata: { partitionKey: orderingKey },
});

/** Relays one topic, wave by wave. Topics do not wait for each other: order is kept within a topic and key. */
export class Lane {
  readonly circuit: Circuit;
  readonly #topic: string;
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #onDue: () => void;
  readonly #log: Log;
  readonly #suspects = new Suspects();
  readonly #unmarked: Set<string>;
  #unreachableSince: number | undefined;

  /**
   * @param unmarked relayed, and not marked so far, also under earlier leases: they are marked before anything else is done
   * @param onDue called when a probe is due
   */
  constructor(topic: string, lease: Lease, options: RelayOptions, unmarked: Set<string>, onDue: () => void) {
    this.#topic = topic;
    this.#unmarked = unmarked;
    this.#lease = lease;
    this.circuit = new Circuit(options.backoff);
    this.#options = options;
    this.#onDue = onDue;
    this.#log = options.log.child({ topic });
  }

  /**
   * Relays until nothing is due, nothing may go, or `stopping` is aborted; a wave in flight is finished.
   * @returns whether there was something to do
   * @throws when the lease is lost
   */
  async drain(stopping: AbortSignal): Promise<boolean> {
    if (this.#unmarked.size > 0) await this.#mark([]);
    let relayed = false;
    while (!stopping.aborted && !this.circuit.isShut && (await this.#relayBatch(stopping))) relayed = true;
    return relayed;
  }

  /** @returns whether there may be more to do at once */
  async #relayBatch(stopping: AbortSignal): Promise<boolean> {
    using hold = this.#lease.hold();
    const { batch, hasMore } = await claimBatch(this.#lease, {
      topic: this.#topic,
      partitions: hold.partitions,
      except: this.#unmarked,
    });
    hold.narrow(batch.map(({ partition }) => partition));
    let leased: readonly number[] = hold.partitions;
    for (const wave of fullWaves(batch, hasMore)) {
      const admitted = this.circuit.admit(wave);
      if (stopping.aborted || admitted.some(({ partition }) => !leased.includes(partition))) return true;
      if (admitted.length === 0) return false;
      const { accepted, heldBack } = await this.#publish(admitted);
      leased = await this.#mark(accepted);
      // The rest of the batch may hold later messages of the keys that did not go through.
      if (accepted.size < wave.length) return accepted.size + heldBack > 0;
    }
    return batch.length > 0;
  }

  /** Publishes one wave, learns from what failed and writes that down. */
  async #publish(wave: readonly Message[]): Promise<{ accepted: ReadonlySet<string>; heldBack: number }> {
    const result = await this.#options.publisher.publishBulk(this.#topic, wave.map(entry), this.#lease.lost);
    const { accepted, failed, malformed } = result;
    const guilty = this.#suspects.judge(accepted, failed.keys());
    if (result.outage) {
      this.learn(wave, result);
      return { accepted, heldBack: 0 };
    }
    for (const id of malformed) guilty.add(id);
    // Refused while others were not, or proven: this message's matter. Else nothing goes through, and no message is touched.
    const own = [...failed].filter(([id]) => accepted.size > 0 || guilty.has(id));
    this.learn(wave, own.length > 0 ? { accepted, failed: NONE } : result);
    if (own.length > 0) await this.#holdBack(own, guilty);
    return { accepted, heldBack: own.length };
  }

  /** Learns from what became of messages whether the topic can be published to. */
  learn(
    wave: readonly Message[],
    { accepted, failed, outage }: Pick<BulkResult, 'accepted' | 'failed' | 'outage'>,
  ): void {
    if (outage) this.#open(outage.kind, outage.message, wave.length === 1 ? keysOf(wave) : []);
    else if (accepted.size > 0) this.#close();
    else if (failed.size > 0) this.#open('refused', [...failed.values()][0]!, keysOf(wave));
  }

  #close(): void {
    this.#unreachableSince = undefined;
    this.#options.sidecar?.trust(this.#topic);
    if (this.circuit.close()) this.#log.info('publishing works again');
  }

  #open(cause: string, message: string, keys: readonly string[]): void {
    const isNews = this.circuit.open(cause, keys);
    setTimeout(this.#onDue, this.circuit.waitMs).unref();
    // What somebody has to set right no restart does; and who does not answer cannot be told to restart.
    if (cause === 'refused' || cause === 'unexpected-answer') void this.#options.sidecar?.suspect(this.#topic, message);
    else this.#options.sidecar?.trust(this.#topic);
    this.#giveUpWithout(cause);
    if (!isNews) return;
    const level = cause === 'configuration' ? 'error' : 'warn';
    this.#log[level]({ cause, reason: message }, 'nothing can be published: messages wait, and no attempts are spent');
  }

  /** Other relays have sidecars of their own. */
  #giveUpWithout(cause: string): void {
    const away = cause === 'unreachable' || cause === 'time-out';
    this.#unreachableSince = away ? (this.#unreachableSince ?? performance.now()) : undefined;
    if (this.#options.ready && away && performance.now() - this.#unreachableSince! > UNREACHABLE_MS)
      this.#lease.drop(new Error('The sidecar cannot be reached: others shall have the partitions'));
  }

  async #holdBack(failures: [string, string][], guilty: ReadonlySet<string>): Promise<void> {
    const rows = failures.map(([id, error]) => ({ id, error, counts: guilty.has(id) }));
    for (const { parked, ...held } of await holdBack(this.#lease, rows, this.#options.patience)) {
      if (parked) this.#log.error(held, 'cannot be published: parked, and its key with it, until an operator acts');
      else this.#log.debug(held, 'could not be published: waits, and its key with it');
    }
  }

  /** What was accepted stays known until it is marked, whatever becomes of the lease: it need not be sent again for that. */
  async #mark(accepted: Iterable<string>): Promise<readonly number[]> {
    for (const id of accepted) this.#unmarked.add(id);
    const ids = [...this.#unmarked];
    const { locked, partitions } = await markRelayed(this.#lease, ids, this.#options.resendAfterSeconds);
    const left = new Set(locked);
    for (const id of ids) if (!left.has(id)) this.#unmarked.delete(id);
    return partitions;
  }
}

const keysOf = (wave: readonly Message[]): string[] => wave.map(({ orderingKey }) => orderingKey);
