import type { BulkResult } from '#eventing/dapr-publisher';
import type { Log } from '#process/log';
import { Circuit } from './circuit.ts';
import type { Message } from './message.ts';
import type { RelayOptions } from './options.ts';
import { PoisonDetector } from './poison-detector.ts';

/** Time that daprd may be unreachable before the relay releases its partitions to other relays. */
const UNREACHABLE_MS = 5_000;

/** A bulk publish call in flight. */
export interface Call {
  readonly number: number;
  /** Whether the circuit was open. */
  readonly isProbe: boolean;
  /** Whether another call ended meanwhile without an accepted message. */
  isBesideFailure: boolean;
  readonly ended: Promise<void>;
  readonly end: () => void;
}

/** A message that has to be held back. */
export interface Refused<M> {
  readonly message: M;
  readonly error: string;
  readonly isPoison: boolean;
}

/** Tells outages of the broker from messages at fault, by the results of one topic's calls. In an outage the circuit is open. */
export class Faults {
  readonly circuit: Circuit;
  readonly #topic: string;
  readonly #options: RelayOptions;
  readonly #onDue: () => void;
  readonly #onUnreachable: (reason: Error) => void;
  readonly #log: Log;
  readonly #poison = new PoisonDetector();
  readonly #calls = new Set<Call>();
  #unreachableSince: number | undefined;

  /**
   * @param onDue called when a probe of the open circuit is due
   * @param onUnreachable called when daprd is unreachable for too long
   */
  constructor(topic: string, options: RelayOptions, onDue: () => void, onUnreachable: (reason: Error) => void) {
    this.circuit = new Circuit(options.backoff);
    this.#topic = topic;
    this.#options = options;
    this.#onDue = onDue;
    this.#onUnreachable = onUnreachable;
    this.#log = options.log.child({ topic });
  }

  /** Whether a probe of the open circuit is in flight. */
  get isProbing(): boolean {
    return this.#calls.values().some(({ isProbe }) => isProbe);
  }

  /** Records that a call begins. `end` has to follow. */
  begin(): Call {
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const call = { number: this.#poison.begin(), isProbe: this.circuit.isOpen, isBesideFailure: false, ended, end };
    this.#calls.add(call);
    return call;
  }

  /** Records that a call has ended. */
  end(call: Call, hasAccepted: boolean): void {
    this.#calls.delete(call);
    if (!hasAccepted) for (const other of this.#calls) other.isBesideFailure = true;
    call.end();
  }

  /**
   * Finds the messages at fault, and opens or closes the circuit. Waits for other calls if that takes their results.
   * @returns the messages that were refused while others of the call were accepted, and those that are poison; all others are not at fault
   */
  async judge<M extends Message>(call: Call, messages: readonly M[], result: BulkResult): Promise<Refused<M>[]> {
    const { accepted, failed, malformed, outage } = result;
    const isProbe = call.isProbe || this.circuit.isOpen;
    const suspects = this.#poison.findPoison(accepted, failed.keys(), isProbe, call.number);
    if (suspects.size > 0 && !(await this.#hasOthersAccepted(call))) suspects.clear();
    const isPoison = (id: string) => suspects.has(id) || malformed.has(id);
    const refused = messages
      .filter(({ id }) => !outage && failed.has(id) && (accepted.size > 0 || isPoison(id)))
      .map((message) => ({ message, error: failed.get(message.id)!, isPoison: isPoison(message.id) }));
    this.record(messages, refused.length > 0 ? { accepted, failed: new Map() } : result, call.isProbe);
    return refused;
  }

  /** An outage that has just begun looks like poison until the calls in flight are answered. */
  async #hasOthersAccepted(call: Call): Promise<boolean> {
    const others = [...this.#calls];
    this.#calls.add(call);
    await Promise.all(others.map(({ ended }) => ended));
    this.#calls.delete(call);
    return !call.isBesideFailure;
  }

  /**
   * Opens or closes the circuit according to the result of a call.
   * @param isProbe false if the circuit was closed when the call began
   */
  record(
    messages: readonly Message[],
    { accepted, failed, outage }: Pick<BulkResult, 'accepted' | 'failed' | 'outage'>,
    isProbe: boolean,
  ): void {
    const keys = messages.map(({ orderingKey }) => orderingKey);
    // The call began before the circuit opened: its result says nothing about now.
    const isOld = this.circuit.isOpen && !isProbe;
    if (outage) this.#open(outage.kind, outage.message, keys.length === 1 ? keys : [], isOld);
    else if (accepted.size > 0) this.#close(isOld);
    else if (failed.size > 0) this.#open('refused', [...failed.values()][0]!, keys, isOld);
  }

  #close(isOld: boolean): void {
    if (isOld) return;
    this.#unreachableSince = undefined;
    this.#options.sidecar?.reportSuccess(this.#topic);
    if (this.circuit.close()) this.#log.info('publishing resumed');
  }

  #open(cause: string, message: string, keys: readonly string[], isOld: boolean): void {
    if (isOld) {
      this.circuit.addFailure(cause, keys);
      return;
    }
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
      this.#onUnreachable(new Error('The sidecar is unreachable: releasing the partitions to other relays'));
  }
}
