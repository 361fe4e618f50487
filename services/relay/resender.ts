import type { Faults } from './faults.ts';
import type { Lease } from './lease.ts';
import { entry } from './message.ts';
import type { RelayOptions } from './options.ts';
import { claimUnconfirmed, postpone, unconfirmedTopics } from './resend-queries.ts';

/** One batch per second and topic, ten times less often while unsent messages wait: 50 or 5 messages per second. New messages go first. */
const BATCH = 50;
const PAUSE_MS = 1_000;
const BUSY_FACTOR = 10;
/** As much less often while there is nothing to resend. */
const IDLE_FACTOR = 10;
const MAX_INTERVAL_SECONDS = 3_600;

/**
 * Resends messages that were not confirmed in time. Repeats may arrive late and out of order; consumers recognize them by the event id.
 * While a topic has no confirmations at all, its recorder is probably down and the messages are not lost: then only one probe per
 * partition is sent, instead of every message.
 */
export class Resender {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #faultsOf: (topic: string) => Pick<Faults, 'circuit' | 'begin' | 'end' | 'record'>;
  readonly #probes = new Map<string, { count: number; notBefore: number }>();
  #last = Number.NEGATIVE_INFINITY;
  #isIdle = false;

  constructor(
    lease: Lease,
    options: RelayOptions,
    faultsOf: (topic: string) => Pick<Faults, 'circuit' | 'begin' | 'end' | 'record'>,
  ) {
    this.#lease = lease;
    this.#options = options;
    this.#faultsOf = faultsOf;
  }

  /** Looks for unconfirmed messages as often as usual, because new ones are sent. */
  noteWork(): void {
    this.#isIdle = false;
  }

  /**
   * Resends a batch of each topic, unless the last one was less than the pause ago.
   * @param isBusy whether unsent messages wait
   */
  async tick(isBusy: boolean): Promise<void> {
    const factor = isBusy ? BUSY_FACTOR : this.#isIdle ? IDLE_FACTOR : 1;
    if (performance.now() - this.#last < (this.#options.resendPauseMs ?? PAUSE_MS) * factor) return;
    this.#last = performance.now();
    const topics = await unconfirmedTopics(this.#lease, this.#options.resendAfterSeconds);
    this.#isIdle = topics.length === 0;
    for (const { topic, isConfirming } of topics) {
      if (isConfirming && this.#probes.delete(topic)) this.#options.log.info({ topic }, 'confirmations resumed');
      const { circuit } = this.#faultsOf(topic);
      // The outbox may hold nothing to probe an open circuit with: then one resent message is the probe.
      if (circuit.isOpen && circuit.waitMs > 0) continue;
      if (circuit.isOpen) await this.#send(topic, 1, 1);
      else if (isConfirming) await this.#send(topic, BATCH, BATCH);
      else await this.#probe(topic);
    }
  }

  async #probe(topic: string): Promise<void> {
    const { count, notBefore } = this.#probes.get(topic) ?? { count: 0, notBefore: 0 };
    if (performance.now() < notBefore) return;
    const attempted = await this.#send(topic, 1, Number.MAX_SAFE_INTEGER);
    if (attempted === 0) return;
    if (count === 0)
      this.#options.log.warn({ topic }, 'no confirmations, probing: the recorder or its sidecar may be down');
    const interval = Math.min(this.#options.resendAfterSeconds * 2 ** count, MAX_INTERVAL_SECONDS);
    this.#probes.set(topic, { count: count + 1, notBefore: performance.now() + interval * 1_000 });
  }

  /** @returns the number of messages that it attempted to send */
  async #send(topic: string, ofPartition: number, limit: number): Promise<number> {
    const inUse = new Set(this.#lease.partitions);
    using _ = this.#lease.keep(inUse);
    const messages = await claimUnconfirmed(this.#lease, { topic, partitions: [...inUse], ofPartition, limit });
    const needed = new Set(messages.map(({ partition }) => partition));
    for (const it of inUse) if (!needed.has(it)) inUse.delete(it);
    if (messages.length === 0) return 0;
    const { publisher, resendAfterSeconds, log } = this.#options;
    const faults = this.#faultsOf(topic);
    const call = faults.begin();
    const publishing = publisher.publishBulk(topic, messages.map(entry), this.#lease.lost);
    const hasAccepted = publishing.then(({ accepted }) => accepted.size > 0).catch(() => false);
    faults.end(call, await hasAccepted);
    const result = await publishing;
    faults.record(messages, result, call.isProbe);
    if (result.outage) return messages.length;
    await postpone(this.#lease, messages, result.accepted, resendAfterSeconds);
    if (result.accepted.size > 0) log.info({ topic, messages: result.accepted.size }, 'resent unconfirmed messages');
    return messages.length;
  }
}
