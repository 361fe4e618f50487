import { setTimeout as delay } from 'node:timers/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { databaseFault } from '../database-faults.ts';
import { asStored, ConflictError } from '../store/genuine.ts';
import { withProvenance } from '../store/provenance.ts';
import { applyOnce } from './apply-once.ts';
import { ConsumerCircuit, handles } from './consumer-circuit.ts';
import { bodiesOf } from './deferred-bodies.ts';
import {
  claimDue,
  type Delivery,
  type Due,
  deferFailed,
  deferUntried,
  deleteDeferred,
  readDeferred,
  unclaim,
} from './deferred-deliveries.ts';
import { progressOf, TooOldError } from './inbox-rows.ts';

export interface InboxOptions {
  /** Failed attempts after which a delivery is dead until an operator redrives or discards it (default 8). */
  readonly maxAttempts?: number;
  /** Milliseconds before the second attempt (default 500); doubled for each further one, up to five minutes. */
  readonly backoffMs?: number;
  /** CloudEvents source of the system that owns this database: its events are checked against its event store. */
  readonly ownSource: string;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** Polling interval for due deliveries when the loop is not woken; milliseconds. */
const POLL_MS = 1_000;

/**
 * Applies deliveries exactly once and retries failed ones. Broker redelivery is used only while the database is unreachable:
 * every other failure becomes a row in `eventing.kept_delivery`. While a consumer's dependency is unavailable, its events are
 * deferred without being handled, so that it delays no other consumer; while it fails for all, no attempts are spent.
 */
export class Inbox implements AsyncDisposable {
  readonly #orm: MikroORM;
  readonly #options: Required<InboxOptions>;
  readonly #stop = new AbortController();
  readonly #wakes = new Set<AbortController>();
  readonly #loops: Promise<void>[] = [];
  /** By consumer. */
  readonly #circuits = new Map<string, ConsumerCircuit>();

  constructor(orm: MikroORM, options: InboxOptions) {
    this.#orm = orm;
    this.#options = { maxAttempts: 8, backoffMs: 500, ...options };
  }

  /**
   * Applies one event to one consumer. Resolves when the delivery may be acknowledged: applied now or earlier, or deferred.
   * @param received the body that the event was parsed from
   * @throws ConflictError when the event is not genuine; an error of the database when it cannot be reached
   */
  async deliver(consumer: Consumer, event: ReceivedEvent, received: Pick<Delivery, 'raw'> = {}): Promise<void> {
    const delivery = { event, ...received };
    const circuit = this.#circuitOf(consumer.name);
    if (!circuit.isOpen || !handles(consumer, event.type)) return this.#try(consumer, delivery);
    const { cause } = circuit;
    if (event.source === this.#options.ownSource && consumer.order === 'ordered')
      await asStored(this.#orm.em.fork(), event);
    const judged = await this.#judge(consumer, event);
    if (judged === 'settled') return;
    if (judged instanceof TooOldError) return await this.#deferAs(consumer, delivery, judged, false);
    await this.#replacing(consumer, event, () => deferUntried(this.#orm, consumer, delivery, cause));
    if (circuit.waitMs === 0) this.wake();
  }

  /** Starts one retry loop per consumer for its deferred deliveries, so that a slow dependency delays one consumer only. */
  start(consumers: readonly Consumer[]): void {
    for (const consumer of consumers)
      this.#loops.push(this.#run(consumer.name, (due, isProbe) => this.#retry(consumer, due, isProbe)));
  }

  /** Starts the retry loop for an app's deferred bodies, which belong to no consumer. */
  startBodies(appId: string, redeliver: (due: Due) => Promise<void>): void {
    this.#loops.push(this.#run(bodiesOf(appId), redeliver));
  }

  /** Makes the retry loops query for due deliveries now, not at the next poll. */
  wake(): void {
    for (const wake of this.#wakes) wake.abort();
  }

  /** Stops the retry loops once running attempts have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.wake();
    await Promise.all(this.#loops);
  }

  #circuitOf(name: string): ConsumerCircuit {
    const circuit = this.#circuits.get(name) ?? new ConsumerCircuit();
    this.#circuits.set(name, circuit);
    return circuit;
  }

  async #retry(consumer: Consumer, due: Due, isProbe: boolean): Promise<void> {
    const { raw, row } = due;
    let event = due.envelope!;
    try {
      event = readDeferred(due);
    } catch (error) {
      return this.#defer(consumer, { event, row }, error, { isFinal: true, isProbe });
    }
    await this.#try(consumer, { event, raw: raw ?? undefined, row }, isProbe);
  }

  async #try(consumer: Consumer, delivery: Delivery, isProbe = false): Promise<void> {
    const { event } = delivery;
    try {
      const outcome = await withProvenance(
        { requestedBy: consumer.name, traceparent: event.traceparent || undefined },
        () => applyOnce(this.#orm, consumer, delivery, this.#options),
      );
      if (outcome.due) this.wake();
      if (outcome.kind === 'applied' && handles(consumer, event.type) && this.#circuitOf(consumer.name).succeeded())
        this.#options.log.warn({ consumer: consumer.name }, 'consumer handles events again');
    } catch (error) {
      await this.#fail(consumer, delivery, error, isProbe);
    }
  }

  async #fail(consumer: Consumer, delivery: Delivery, error: unknown, isProbe: boolean): Promise<void> {
    // Its retries are not judged: it must not be deferred before it is. If that fails as well, the broker redelivers it.
    if (delivery.row === undefined && !(error instanceof ConflictError || error instanceof TooOldError)) {
      const judged = await this.#judge(consumer, delivery.event);
      if (judged === 'settled') return;
      if (judged instanceof TooOldError) return await this.#deferAs(consumer, delivery, judged, isProbe);
    }
    await this.#deferAs(consumer, delivery, error, isProbe);
  }

  /** @throws ConflictError when an event for a convergent consumer is not genuine */
  async #judge(consumer: Consumer, event: ReceivedEvent): Promise<'settled' | 'open' | TooOldError> {
    // The cursor judges.
    if (consumer.order === 'ordered') return 'open';
    const em = this.#orm.em.fork();
    try {
      const genuine = event.source === this.#options.ownSource ? await asStored(em, event) : event;
      const progress = await progressOf(em, consumer, genuine);
      return progress === 'applied' || progress === 'given up' ? 'settled' : 'open';
    } catch (error) {
      if (error instanceof TooOldError) return error;
      throw error;
    }
  }

  async #deferAs(consumer: Consumer, delivery: Delivery, error: unknown, isProbe: boolean): Promise<void> {
    // Not deferred under its event id, which may be another event's: the receiver defers the body instead.
    if (error instanceof ConflictError && delivery.row === undefined) throw error;
    const isFinal = error instanceof ConflictError || error instanceof TooOldError;
    await this.#replacing(consumer, delivery.event, () => this.#defer(consumer, delivery, error, { isFinal, isProbe }));
  }

  async #defer(
    consumer: Consumer,
    delivery: Delivery,
    error: unknown,
    { isFinal, isProbe }: { isFinal: boolean; isProbe: boolean },
  ): Promise<void> {
    const { log, maxAttempts, backoffMs } = this.#options;
    const { eventId, type, aggregateId } = delivery.event;
    const fields = { consumer: consumer.name, eventId, type, aggregateId, err: error };
    const { isSystemic, news } = isFinal
      ? { isSystemic: false }
      : this.#circuitOf(consumer.name).failed(error, aggregateId, isProbe);
    const failure = { error, maxAttempts: isFinal ? 0 : maxAttempts, backoffMs, isSystemic };
    const state = await deferFailed(this.#orm, consumer, delivery, failure);
    if (news === 'the consumer fails')
      log.error(fields, 'consumer fails for several aggregates: failures spend no attempts');
    else if (news) log.warn(fields, 'a dependency is unavailable: deferring events without asking it, probing');
    else if (isSystemic && state === 'failing') return;
    else if (state === 'discarded') log.warn(fields, 'delivery failed; it was discarded earlier and stays discarded');
    else if (state === 'dead') log.error(fields, 'dead letter: redrive or discard it');
    else if (databaseFault(error) === 'systemic')
      log.error(fields, 'database schema, grants or settings do not match this program: deferred, retrying');
    else log.warn(fields, 'delivery failed, retrying');
  }

  /**
   * Defers an event; one of this system, which is verified, replaces a row that only claims its id.
   * @throws ConflictError when a different event of another system has the row
   */
  async #replacing(consumer: Consumer, event: ReceivedEvent, defer: () => Promise<void>): Promise<void> {
    try {
      await defer();
    } catch (error) {
      if (!(error instanceof ConflictError) || event.source !== this.#options.ownSource) throw error;
      const em = this.#orm.em.fork();
      await asStored(em, event);
      await deleteDeferred(em, consumer.name, event.eventId);
      await defer();
    }
  }

  async #run(name: string, retry: (due: Due, isProbe: boolean) => Promise<void>): Promise<void> {
    const { log } = this.#options;
    const circuit = this.#circuitOf(name);
    while (!this.#stop.signal.aborted) {
      const wake = new AbortController();
      this.#wakes.add(wake);
      const isProbe = circuit.isOpen;
      const claim = circuit.waitMs > 0 ? Promise.resolve([]) : claimDue(this.#orm, name, isProbe ? 1 : undefined);
      const due = await claim.catch((error: unknown) => {
        log.warn({ consumer: name, err: error }, 'cannot query deferred deliveries, retrying');
        return [];
      });
      for (const [index, it] of due.entries()) {
        if (this.#stop.signal.aborted) return;
        if (circuit.isOpen && !isProbe) {
          // If this fails, they are due after a minute.
          await unclaim(this.#orm, name, due.slice(index)).catch(() => undefined);
          break;
        }
        await retry(it, isProbe).catch((error: unknown) => {
          log.warn(
            { consumer: name, row: it.row, err: error },
            'cannot process a deferred delivery, retrying within a minute',
          );
        });
      }
      // While it fails for all, twenty a second are enough.
      const isBusy = due.length > 0 && !circuit.isFailing;
      const pauseMs = isBusy ? 0 : Math.min(POLL_MS, circuit.waitMs || POLL_MS);
      if (pauseMs > 0) await delay(pauseMs, undefined, { signal: wake.signal }).catch(() => undefined);
      this.#wakes.delete(wake);
    }
  }
}
