import { setTimeout as delay } from 'node:timers/promises';

/** Confirmations that are in progress when their deliveries are acknowledged: as many, at most 256 KB each, are in memory. */
const MOST = 100;

/**
 * Confirms messages after their deliveries are acknowledged, because daprd waits for each answer before it delivers the next message. A
 * confirmation that is lost, because the process is killed, costs a repeat (docs/decisions/0034).
 */
export class ConfirmationQueue implements AsyncDisposable {
  readonly #pending = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #log: { warn(fields: object, message: string): void };
  readonly #retryMs: number;
  readonly #gatherMs: number;
  #isFailing = false;
  #turn: Promise<void> | undefined;
  #lastTurn = Number.NEGATIVE_INFINITY;

  /**
   * @param options.retryMs pause before a confirmation is attempted again; milliseconds
   * @param options.gatherMs time in which confirmations gather, because one statement for several costs a fraction of one for each
   */
  constructor(log: { warn(fields: object, message: string): void }, { retryMs = 1_000, gatherMs = 20 } = {}) {
    this.#log = log;
    this.#retryMs = retryMs;
    this.#gatherMs = gatherMs;
  }

  /**
   * Resolves when the delivery may be acknowledged: at once, or with the result of `confirm` while many are in progress or the database
   * cannot be reached.
   * @param confirm confirms a message; its errors are temporary
   * @throws errors of `confirm`, if it was waited for
   */
  async add(confirm: () => Promise<void>): Promise<void> {
    if (this.#isFailing || this.#pending.size >= MOST) return await this.#attempt(confirm);
    const done = this.#persist(confirm).finally(() => this.#pending.delete(done));
    this.#pending.add(done);
  }

  /** Resolves when all confirmations in progress have ended, each after one more attempt at most. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#pending);
  }

  async #attempt(confirm: () => Promise<void>): Promise<void> {
    try {
      await confirm();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) this.#log.warn({ err: error }, 'cannot confirm messages, retrying');
      this.#isFailing = true;
      throw error;
    }
  }

  async #persist(confirm: () => Promise<void>): Promise<void> {
    this.#turn ??= this.#nextTurn();
    await this.#turn;
    for (;;) {
      try {
        return await this.#attempt(confirm);
      } catch {
        // Not confirmed after that, the message is sent again.
        if (this.#stop.signal.aborted) return;
        await this.#pause(this.#retryMs);
      }
    }
  }

  /** Resolves `gatherMs` after the last turn: at once if that is over, otherwise together with all that arrive until then. */
  async #nextTurn(): Promise<void> {
    await this.#pause(this.#lastTurn + this.#gatherMs - performance.now());
    this.#lastTurn = performance.now();
    this.#turn = undefined;
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await delay(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
