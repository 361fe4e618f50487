import { entry, type Lane, type RelayOptions } from './lane.ts';
import type { Lease } from './lease.ts';
import { claimMissing, postpone, topicsOut } from './resend-queries.ts';

/** A batch a second, and ten times less often while messages wait for their first relay: 50 or 5 messages a second for each topic. */
const BATCH = 50;
const PAUSE_MS = 1_000;
const WHILE_BUSY = 10;
const MAX_INTERVAL_SECONDS = 3_600;

/**
 * Sends again what was relayed and has not come back in time. Repeats may come late and out of order; consumers know them by their fact.
 * While nothing at all comes back, the recorder is down rather than the messages lost: then one probe of each partition has to do.
 */
export class Resend {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #laneOf: (topic: string) => Pick<Lane, 'circuit' | 'learn'>;
  readonly #probes = new Map<string, { count: number; notBefore: number }>();
  #last = Number.NEGATIVE_INFINITY;

  constructor(lease: Lease, options: RelayOptions, laneOf: (topic: string) => Pick<Lane, 'circuit' | 'learn'>) {
    this.#lease = lease;
    this.#options = options;
    this.#laneOf = laneOf;
  }

  /** Sends a batch of each topic, when it is time. @param busy while first relays wait */
  async tick(busy: boolean): Promise<void> {
    const pause = (this.#options.resendPauseMs ?? PAUSE_MS) * (busy ? WHILE_BUSY : 1);
    if (performance.now() - this.#last < pause) return;
    this.#last = performance.now();
    for (const { topic, comesBack } of await topicsOut(this.#lease, this.#options.resendAfterSeconds)) {
      if (comesBack && this.#probes.delete(topic)) this.#options.log.info({ topic }, 'messages come back again');
      const { circuit } = this.#laneOf(topic);
      // Where nothing waits for its first relay, one of these finds out whether it goes again.
      if (circuit.isOpen && circuit.waitMs > 0) continue;
      if (circuit.isOpen) await this.#send(topic, 1, 1);
      else if (comesBack) await this.#send(topic, BATCH, BATCH);
      else await this.#probe(topic);
    }
  }

  async #probe(topic: string): Promise<void> {
    const { count, notBefore } = this.#probes.get(topic) ?? { count: 0, notBefore: 0 };
    if (performance.now() < notBefore) return;
    const tried = await this.#send(topic, 1, Number.MAX_SAFE_INTEGER);
    if (tried === 0) return;
    if (count === 0) this.#options.log.warn({ topic }, 'nothing has come back: is the recorder, or its sidecar, down?');
    const interval = Math.min(this.#options.resendAfterSeconds * 2 ** count, MAX_INTERVAL_SECONDS);
    this.#probes.set(topic, { count: count + 1, notBefore: performance.now() + interval * 1_000 });
  }

  /** @returns how many it tried to send */
  async #send(topic: string, ofPartition: number, limit: number): Promise<number> {
    using hold = this.#lease.hold();
    const { partitions } = hold;
    const messages = await claimMissing(this.#lease, { topic, partitions, ofPartition, limit });
    hold.narrow(messages.map(({ partition }) => partition));
    if (messages.length === 0) return 0;
    const { publisher, resendAfterSeconds, log } = this.#options;
    const result = await publisher.publishBulk(topic, messages.map(entry), this.#lease.lost);
    this.#laneOf(topic).learn(messages, result);
    if (result.outage) return messages.length;
    await postpone(this.#lease, messages, result.accepted, resendAfterSeconds);
    if (result.accepted.size > 0)
      log.info({ topic, messages: result.accepted.size }, 'sent again what has not come back');
    return messages.length;
  }
}
