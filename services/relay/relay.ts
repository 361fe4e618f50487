import { setTimeout as delay } from 'node:timers/promises';
import { Bell } from './bell.ts';
import { Lane, type RelayOptions } from './lane.ts';
import { Lease } from './lease.ts';
import { topicsWaiting } from './outbox-queries.ts';
import { Resend } from './resend.ts';

/** Between two looks into the outbox: the longer, the longer it was empty. Services ring as well; a ring that is lost costs this much. */
const POLL = { minMs: 50, maxMs: 1_000 };
/** Between two attempts to reach the database. */
const RECONNECT = { minMs: 100, maxMs: 2_000 };
/** The lease is confirmed every 0.3 s; PostgreSQL ends it after 5 s without a sign of us. */
const STALE_MS = 5_000;

/**
 * Moves messages from the outbox to Dapr for as long as it lives: on one lease after the other, since whatever goes wrong with the
 * database ends the lease and with it all that was known. What the rows say is none of its business.
 */
export class Relay implements AsyncDisposable {
  readonly #options: RelayOptions;
  readonly #stopping = new AbortController();
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
    for (let failures = 0; !this.#stopping.signal.aborted; ) {
      try {
        await this.#work(() => {
          failures = 0;
        });
      } catch (error) {
        if (failures === 0) log.warn({ err: error }, 'lost the lease: starting over');
        const pause = Math.min(RECONNECT.maxMs, RECONNECT.minMs * 2 ** failures++);
        await delay(pause, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
      }
    }
  }

  /** Works on one lease until it is lost, which throws, or until the relay is stopped. */
  async #work(connected: () => void): Promise<void> {
    const bell = new Bell();
    const ring = () => bell.ring();
    await using lease = await Lease.open({ ...this.#options, onWork: ring });
    this.#lease = lease;
    connected();
    this.#stopping.signal.addEventListener('abort', ring, { signal: lease.lost });
    const crew = new Crew(lease, this.#options, this.#stopping.signal, ring);
    lease.lost.addEventListener('abort', ring, { once: true });
    try {
      for (let pause = POLL.minMs; !this.#stopping.signal.aborted; pause = Math.min(POLL.maxMs, pause * 2)) {
        lease.lost.throwIfAborted();
        await crew.dispatch();
        if (await bell.heard(pause)) pause = POLL.minMs;
      }
    } finally {
      await crew.finished();
    }
  }
}

/** The lanes of one lease, each at its own pace, and the one who sends again. */
class Crew {
  readonly #lease: Lease;
  readonly #options: RelayOptions;
  readonly #stopping: AbortSignal;
  readonly #lanes = new Map<string, Lane>();
  readonly #working = new Map<string, Promise<void>>();
  readonly #onDue: () => void;
  readonly #resend: Resend;

  constructor(lease: Lease, options: RelayOptions, stopping: AbortSignal, onDue: () => void) {
    this.#lease = lease;
    this.#options = options;
    this.#stopping = stopping;
    this.#onDue = onDue;
    this.#resend = new Resend(lease, options, (topic) => this.#lane(topic).circuit);
  }

  /** Sets everybody to work who has some. */
  async dispatch(): Promise<void> {
    const topics = await topicsWaiting(this.#lease);
    const busy = this.#working.size > 0;
    for (const topic of topics) this.#set(topic, () => this.#lane(topic).drain(this.#stopping));
    this.#set('', () => this.#resend.tick(busy));
  }

  #set(who: string, work: () => Promise<void>): void {
    if (this.#working.has(who)) return;
    const done = work()
      .catch((error) => this.#lease.drop(error))
      .finally(() => this.#working.delete(who));
    this.#working.set(who, done);
  }

  #lane(topic: string): Lane {
    const lane = this.#lanes.get(topic) ?? new Lane(topic, this.#lease, this.#options, this.#onDue);
    this.#lanes.set(topic, lane);
    return lane;
  }

  async finished(): Promise<void> {
    await Promise.all(this.#working.values());
  }
}
