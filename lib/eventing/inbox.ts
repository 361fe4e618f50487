import { setTimeout as delay } from 'node:timers/promises';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from './cloud-event.ts';
import { attempt } from './consume.ts';
import { claimDue, keepFailed } from './kept-deliveries.ts';
import { withProvenance } from './provenance.ts';

/**
 * What one consumer does with events. Each has a name of its own in the system's database, by which its effects happen exactly once.
 *
 * - `convergent`: applies events as they come; the effect must not depend on their order.
 * - `ordered`: applies each aggregate's events in sequence, n + 1 only after n; what comes early waits, what fails holds up its own aggregate.
 */
export interface Consumer<Read = unknown> {
  readonly name: string;
  readonly order: 'convergent' | 'ordered';
  /** The events it acts on. Others are acknowledged, and an ordered consumer moves on past them. */
  readonly types: readonly string[] | 'all';
  /**
   * What it must ask of others, before the transaction: nothing is locked while a neighbour answers.
   * Throw an error with `outage: true` when the neighbour cannot be reached: it is asked again until it can, and no attempt is spent.
   */
  read?(event: ReceivedEvent): Promise<Read>;
  /**
   * The effect, in `em`'s transaction, which is committed together with the note that this event is done.
   * Whatever it throws rolls both back; the event is kept and tried again with backoff, at last given up as dead, and shown to operators.
   */
  handle(em: EntityManager, event: ReceivedEvent, read: Read): Promise<void>;
}

export interface InboxOptions {
  /** Failures after which a delivery is dead until an operator redrives or discards it. */
  readonly maxAttempts?: number;
  /** Milliseconds before the second attempt; doubled for each further one, up to five minutes. */
  readonly backoffMs?: number;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** How often the loop looks for due deliveries when nothing tells it of one; milliseconds. */
const POLL_MS = 1_000;

/**
 * Applies deliveries exactly once and tries again those that failed. The broker's own redelivery serves only while the database is away:
 * everything else that goes wrong is a row in `eventing.kept_delivery`.
 */
export class Inbox implements AsyncDisposable {
  readonly #orm: MikroORM;
  readonly #options: Required<InboxOptions>;
  readonly #stop = new AbortController();
  readonly #wakes = new Map<string, AbortController>();
  #loops: Promise<void>[] = [];

  constructor(orm: MikroORM, options: InboxOptions) {
    this.#orm = orm;
    this.#options = { maxAttempts: 8, backoffMs: 500, ...options };
  }

  /**
   * Hands one event to one consumer. Resolves when it may be acknowledged: it is applied, was applied before, or is kept.
   * @throws when the database is not there, so that neither could be noted
   */
  deliver(consumer: Consumer, event: ReceivedEvent): Promise<void> {
    return this.#try(consumer, event, 'delivery');
  }

  /** Starts trying again what these consumers have kept, now and from earlier runs; each on its own, so that none waits for another's neighbour. */
  start(consumers: readonly Consumer[]): void {
    this.#loops = consumers.map((consumer) => this.#run(consumer));
  }

  /** Looks for due deliveries at once instead of at the next poll. */
  poke(): void {
    for (const wake of this.#wakes.values()) wake.abort();
  }

  /** Stops the loops when the attempts under way are over. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.poke();
    await Promise.all(this.#loops);
  }

  async #try(consumer: Consumer, event: ReceivedEvent, source: 'delivery' | 'kept'): Promise<void> {
    const { log, maxAttempts, backoffMs } = this.#options;
    const who = { consumer: consumer.name, eventId: event.eventId, type: event.type, aggregateId: event.aggregateId };
    try {
      const outcome = await withProvenance(
        { requestedBy: consumer.name, traceparent: event.traceparent || undefined },
        () => attempt(this.#orm, consumer, event, source),
      );
      if (outcome.endsWith('due')) this.poke();
    } catch (error) {
      const state = await keepFailed(this.#orm, consumer, event, { error, maxAttempts, backoffMs });
      if (state === 'dead') log.error({ ...who, err: error }, 'given up: redrive or discard it');
      else log.warn({ ...who, err: error }, 'kept, to be tried again');
    }
  }

  async #run(consumer: Consumer): Promise<void> {
    const { log } = this.#options;
    while (!this.#stop.signal.aborted) {
      const wake = new AbortController();
      this.#wakes.set(consumer.name, wake);
      const due = await claimDue(this.#orm, consumer.name).catch((error: unknown) => {
        log.warn({ consumer: consumer.name, err: error }, 'cannot look for kept deliveries');
        return [];
      });
      for (const event of due) {
        if (this.#stop.signal.aborted) return;
        await this.#try(consumer, event, 'kept').catch((error: unknown) => {
          log.warn({ consumer: consumer.name, eventId: event.eventId, err: error }, 'cannot try a kept delivery now');
        });
      }
      if (due.length === 0) await delay(POLL_MS, undefined, { signal: wake.signal }).catch(() => undefined);
    }
  }
}
