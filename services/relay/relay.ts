import { setTimeout as delay } from 'node:timers/promises';
import { Bell } from './bell.ts';
import { Crew } from './crew.ts';
import type { RelayOptions } from './lane.ts';
import { Lease } from './lease.ts';

/** Between two looks into the outbox: the longer, the longer it was empty. Services ring as well; a ring that is lost costs this much. */
const POLL = { minMs: 50, maxMs: 1_000 };
/** Between two attempts to reach the database, or the sidecar. */
const RECONNECT = { minMs: 100, maxMs: 2_000 };
/** A lease that lasted this long was none of those that end as soon as they are used. */
const LASTING_MS = 2_000;
/** The lease is confirmed every 0.3 s; PostgreSQL ends it after 5 s without a sign of us. */
const STALE_MS = 5_000;

/**
 * Moves messages from the outbox to Dapr for as long as it lives: on one lease after the other, since whatever goes wrong with the
 * database ends the lease and with it all that was known. What the rows say is none of its business.
 */
export class Relay implements AsyncDisposable {
  readonly #options: RelayOptions;
  readonly #stopping = new AbortController();
  readonly #unmarked = new Map<string, Set<string>>();
  #lease: Lease | undefined;
  #life: Promise<void> = Promise.resolve();

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /** Begins; disposing finishes the wave in flight and gives the lease back. */
  start(): this {
    this.#life = this.#live();
    return this;
  }

  /** @throws unless it has a lease that PostgreSQL confirmed lately */
  async check(): Promise<void> {
    if (!this.#lease || this.#lease.lost.aborted || this.#lease.ageMs > STALE_MS) throw new Error('no lease');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#life;
  }

  async #live(): Promise<void> {
    const { log } = this.#options;
    for (let failures = 0; ; ) {
      await this.#sidecar();
      if (this.#stopping.signal.aborted) return;
      const since = performance.now();
      try {
        await this.#work();
      } catch (error) {
        // A database that lets us connect and then do nothing is no better than one that does not.
        if (performance.now() - since > LASTING_MS) failures = 0;
        if (failures === 0) log.warn({ err: error }, 'has no lease: starting over');
        await this.#pause(Math.min(RECONNECT.maxMs, RECONNECT.minMs * 2 ** failures++));
      }
    }
  }

  /** Waits for this relay's own daprd, which often starts later, or until the relay is stopped. */
  async #sidecar(): Promise<void> {
    const { ready, log } = this.#options;
    for (let failures = 0; !this.#stopping.signal.aborted; failures++) {
      try {
        return await ready?.();
      } catch (error) {
        if (failures === 0) log.info({ err: error }, 'waits for its sidecar');
        await this.#pause(Math.min(RECONNECT.maxMs, RECONNECT.minMs * 2 ** failures));
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }

  /** Works on one lease until it is lost, which throws, or until the relay is stopped. */
  async #work(): Promise<void> {
    const bell = new Bell();
    const ring = () => bell.ring();
    await using lease = await Lease.open({ ...this.#options, onWork: ring });
    this.#lease = lease;
    this.#stopping.signal.addEventListener('abort', ring, { signal: lease.lost });
    const { minMs, maxMs } = this.#options.poll ?? POLL;
    const crew = new Crew(lease, this.#options, this.#stopping.signal, this.#unmarked, ring);
    lease.lost.addEventListener('abort', ring, { once: true });
    try {
      for (let pause = minMs; !this.#stopping.signal.aborted; pause = Math.min(maxMs, pause * 2)) {
        lease.lost.throwIfAborted();
        await crew.dispatch();
        if (await bell.heard(pause)) pause = minMs;
      }
    } finally {
      await crew.finished();
    }
  }
}
