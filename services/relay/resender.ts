import type { Lease } from './lease.ts';
import type { RelayOptions } from './options.ts';
import { claimUnconfirmed, postpone, unconfirmedTopics } from './resend-queries.ts';
import type { TopicRelay } from './topic-relay.ts';
import { entry } from './waves.ts';

/** One batch per second and topic, ten times less often while unsent messages wait: 50 or 5 messages per second. New messages go first. */
const BATCH = 50;
const PAUSE_MS = 1_000;
const BUSY_FACTOR = 10;
const MAX_INTERVAL_SECONDS = 3_600;

/**
 * Resends messages that were not confirmed in time. Repeats may arrive late and out of order; consumers recognize them by the event id.
 * While a topic has no confirmations at all, its recorder is probably down and the messages are not lost: then only one probe per
 * partition is sent, instead of every message.
 */
export class Resender {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #relayOf: (topic: string) => Pick<TopicRelay, 'circuit' | 'recordResult'>;
  readonly #probes = new Map<string, { count: number; notBefore: number }>();
  #last = Number.NEGATIVE_INFINITY;

  constructor(
    lease: Lease,
    options: RelayOptions,
    relayOf: (topic: string) => Pick<TopicRelay, 'circuit' | 'recordResult'>,
  ) {
    this.#lease = lease;
    this.#options = options;
    this.#relayOf = relayOf;
  }

  /**
   * Resends a batch of each topic, unless the last one was less than the pause ago.
   * @param isBusy whether unsent messages wait
   */
  async tick(isBusy: boolean): Promise<void> {
    const pause = (this.#options.resendPauseMs ?? PAUSE_MS) * (isBusy ? BUSY_FACTOR : 1);
    if (performance.now() - this.#last < pause) return;
    this.#last = performance.now();
    for (const { topic, isConfirming } of await unconfirmedTopics(this.#lease, this.#options.resendAfterSeconds)) {
      if (isConfirming && this.#probes.delete(topic)) this.#options.log.info({ topic }, 'confirmations resumed');
      const { circuit } = this.#relayOf(topic);
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
    using hold = this.#lease.hold();
    const { partitions } = hold;
    const messages = await claimUnconfirmed(this.#lease, { topic, partitions, ofPartition, limit });
    hold.narrow(messages.map(({ partition }) => partition));
    if (messages.length === 0) return 0;
    const { publisher, resendAfterSeconds, log } = this.#options;
    const result = await publisher.publishBulk(topic, messages.map(entry), this.#lease.lost);
    this.#relayOf(topic).recordResult(messages, result);
    if (result.outage) return messages.length;
    await postpone(this.#lease, messages, result.accepted, resendAfterSeconds);
    if (result.accepted.size > 0) log.info({ topic, messages: result.accepted.size }, 'resent unconfirmed messages');
    return messages.length;
  }
}
