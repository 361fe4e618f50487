import type { BulkEntry, DaprPublisher } from '#eventing/dapr-publisher';
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
  /** Milliseconds between two batches of what is sent again. */
  readonly resendPauseMs?: number;
}

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
  /** Relayed, and locked by somebody else when they were to be marked. */
  #unmarked = new Set<string>();

  /** @param onDue called when a probe is due */
  constructor(topic: string, lease: Lease, options: RelayOptions, onDue: () => void) {
    this.#topic = topic;
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
    const { accepted, failed, outage } = result;
    const guilty = this.#suspects.judge(accepted, failed.keys());
    if (outage) {
      this.#open(outage.kind, outage.message);
      return { accepted, heldBack: 0 };
    }
    if (accepted.size > 0) this.#options.sidecar?.trust(this.#topic);
    if (accepted.size > 0 && this.circuit.close()) this.#log.info('publishing works again');
    // Refused while others were not, or proven: this message's matter. Else nothing goes through, and no message is touched.
    const own = [...failed].filter(([id]) => accepted.size > 0 || guilty.has(id));
    if (own.length > 0) await this.#holdBack(own, guilty);
    else if (failed.size > 0) this.#open('refused', [...failed.values()][0]!, keysOf(wave));
    return { accepted, heldBack: own.length };
  }

  #open(cause: string, message: string, refusedKeys?: readonly string[]): void {
    const isNews = this.circuit.open(cause, refusedKeys);
    setTimeout(this.#onDue, this.circuit.waitMs).unref();
    // What somebody has to set right no restart does; and who does not answer cannot be told to restart.
    if (cause === 'refused' || cause === 'unexpected-answer') void this.#options.sidecar?.suspect(this.#topic, message);
    if (!isNews) return;
    const level = cause === 'configuration' ? 'error' : 'warn';
    this.#log[level]({ cause, reason: message }, 'nothing can be published: messages wait, and no attempts are spent');
  }

  async #holdBack(failures: [string, string][], guilty: ReadonlySet<string>): Promise<void> {
    const rows = failures.map(([id, error]) => ({ id, error, counts: guilty.has(id) }));
    for (const { parked, ...held } of await holdBack(this.#lease, rows, this.#options.patience)) {
      if (parked) this.#log.error(held, 'cannot be published: parked, and its key with it, until an operator acts');
      else this.#log.debug(held, 'could not be published: waits, and its key with it');
    }
  }

  async #mark(accepted: Iterable<string>): Promise<readonly number[]> {
    const ids = [...this.#unmarked, ...accepted];
    const { locked, partitions } = await markRelayed(this.#lease, ids, this.#options.resendAfterSeconds);
    this.#unmarked = new Set(locked);
    return partitions;
  }
}

const keysOf = (wave: readonly Message[]): string[] => wave.map(({ orderingKey }) => orderingKey);
