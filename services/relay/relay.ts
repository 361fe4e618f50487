import { setTimeout as delay } from 'node:timers/promises';
import { Dispatcher } from './dispatcher.ts';
import { Lease } from './lease.ts';
import type { RelayOptions } from './options.ts';
import { WakeSignal } from './wake-signal.ts';

/** Polling interval of the outbox; doubles while nothing wakes the relay. Services also send wake-ups: a lost one costs at most `maxMs`. */
const POLL = { minMs: 50, maxMs: 2_000 };
/** Delay between two attempts to reach the database or the sidecar. */
const RECONNECT = { minMs: 100, maxMs: 2_000 };
/** After a lease that lasted this long, the reconnect delay starts again from its minimum. */
const LASTING_MS = 2_000;
/** The lease is read back every 0.3 to 3 s; PostgreSQL ends its connection after 5 s without a statement. */
const STALE_MS = 5_000;

/**
 * Publishes outbox messages through Dapr until it is disposed of, on one lease after another: any database error ends the lease, and the
 * relay starts over with a new one. It never interprets the messages: destination and envelope are in the row.
 */
export class Relay implements AsyncDisposable {
  readonly #options: RelayOptions;
  readonly #stopping = new AbortController();
  readonly #unmarked = new Map<string, Map<string, string>>();
  #lease: Lease | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Starts relaying. Disposing finishes the calls in flight and releases the lease. */
  start(): this {
    this.#running = this.#run();
    return this;
  }

  /** Readiness check. @throws without a lease that was read back within the last 5 s */
  async check(): Promise<void> {
    if (!this.#lease || this.#lease.lost.aborted || this.#lease.ageMs > STALE_MS) throw new Error('no lease');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    for (let failures = 0; ; ) {
      await this.#sidecarReady();
      if (this.#stopping.signal.aborted) return;
      const startedAt = performance.now();
      try {
        await this.#work();
      } catch (error) {
        // A database that accepts connections but no statements counts as one that cannot be reached: back off.
        if (performance.now() - startedAt > LASTING_MS) failures = 0;
        if (failures === 0) log.warn({ err: error }, 'lost lease, reacquiring');
        await this.#pause(Math.min(RECONNECT.maxMs, RECONNECT.minMs * 2 ** failures++));
      }
    }
  }

  /** Waits until this relay's own daprd is ready, which often starts later, or until the relay is stopped. */
  async #sidecarReady(): Promise<void> {
    const { ready, log } = this.#options;
    for (let failures = 0; !this.#stopping.signal.aborted; failures++) {
      try {
        return await ready?.();
      } catch (error) {
        if (failures === 0) log.info({ err: error }, 'sidecar not ready, waiting');
        await this.#pause(Math.min(RECONNECT.maxMs, RECONNECT.minMs * 2 ** failures));
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }

  /** Relays on one lease until the relay is stopped. @throws when the lease is lost */
  async #work(): Promise<void> {
    const signal = new WakeSignal();
    const wake = () => signal.wake();
    await using lease = await Lease.open({ ...this.#options, onWork: wake });
    this.#lease = lease;
    this.#stopping.signal.addEventListener('abort', wake, { signal: lease.lost });
    const { minMs, maxMs } = this.#options.poll ?? POLL;
    const dispatcher = new Dispatcher(lease, this.#options, this.#stopping.signal, this.#unmarked, wake);
    lease.lost.addEventListener('abort', wake, { once: true });
    try {
      for (let pause = minMs; !this.#stopping.signal.aborted; pause = Math.min(maxMs, pause * 2)) {
        lease.lost.throwIfAborted();
        await dispatcher.dispatch();
        if (await signal.wait(pause)) pause = minMs;
      }
    } finally {
      await dispatcher.finished();
    }
  }
}
