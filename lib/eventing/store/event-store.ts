import type { EventArgs, EventSubscriber, FlushEventArgs, TransactionEventArgs } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { markOutboxWritten, takeOutboxWritten } from '../outbox/outbox.ts';
import { type AppendOptions, appendEvents } from './append.ts';
import { type DomainEvent, raisedSoFar, restoreEvents, takeRaised, wasRaisedBefore } from './domain-event.ts';
import { EventingEntityManager } from './entity-manager.ts';

export interface EventStoreOptions extends AppendOptions {
  /** Called after each commit that wrote outbox rows. */
  readonly wakeRelay: () => void;
}

/**
 * Writes raised events and their internal messages in the transaction that writes the entities: an event exists if and
 * only if its transaction committed.
 *
 * Events are collected in each flush from all entities of the unit of work, because an entity without a column change has
 * no change set. They are written just before the commit, so that the row locks of the aggregates' heads are held as
 * briefly as possible; in a savepoint just before its release, so that its rollback undoes them.
 */
export class EventStore implements EventSubscriber {
  readonly #options: EventStoreOptions;
  readonly #collected = new WeakMap<object, readonly Collected[]>();
  /** By savepoint: the enclosing transaction or savepoint. */
  readonly #enclosing = new WeakMap<object, object | undefined>();
  /** By entity manager: the moment of raising when its transaction or savepoint began. */
  readonly #began = new WeakMap<object, number>();

  constructor(options: EventStoreOptions) {
    this.#options = options;
  }

  beforeTransactionStart({ em, transaction: enclosing }: TransactionEventArgs): void {
    this.#enclosing.set(em, enclosing);
    this.#began.set(em, raisedSoFar());
  }

  afterTransactionStart({ em, transaction }: TransactionEventArgs): void {
    if (transaction) this.#enclosing.set(transaction, this.#enclosing.get(em));
  }

  /** Runs after change sets are computed, when entities reachable only through others are known as well. */
  onFlush({ em, uow }: FlushEventArgs): void {
    if (!(em instanceof EventingEntityManager))
      throw new TypeError(
        'EventStore requires EventingEntityManager: call MikroORM.init({ entityManager: EventingEntityManager })',
      );
    const changeSets = uow.getChangeSets();
    const entities = new Set<object>([...uow.getIdentityMap(), ...uow.getPersistStack(), ...uow.getRemoveStack()]);
    const changes = new Map<object, (typeof changeSets)[number]>(changeSets.map((it) => [it.entity, it]));
    const all = [...entities].map((entity): Collected => {
      const change = changes.get(entity);
      const createdId = change?.type === 'create' ? change.getPrimaryKey() : undefined;
      return { entity, events: takeRaised(entity), state: change ? 'changed' : 'unchanged', createdId };
    });
    const collected = all.filter(({ events }) => events.length > 0);
    if (collected.length > 0) this.#collected.set(em, [...this.#of(em), ...collected]);
  }

  afterCreate({ em, entity }: EventArgs<object>): void {
    this.#markFlushed(em, entity);
  }

  afterUpdate({ em, entity }: EventArgs<object>): void {
    this.#markFlushed(em, entity);
  }

  afterDelete({ em, entity }: EventArgs<object>): void {
    this.#markFlushed(em, entity);
  }

  /** From now on the unit of work regards the entity as stored and does not write it again, even after a rollback. */
  #markFlushed(em: object, entity: object): void {
    for (const it of this.#of(em)) if (it.entity === entity) it.state = 'flushed';
  }

  async beforeTransactionCommit({ em }: TransactionEventArgs): Promise<void> {
    const collected = this.#of(em);
    this.#collected.delete(em);
    if (collected.length === 0) return;
    const events = collected.flatMap(({ events }) => events);
    const created = new Set(collected.map(({ createdId }) => createdId));
    await appendEvents(em as EntityManager, events, created, this.#options);
  }

  /** A flush without a column change opens no transaction, so its events get one of their own. */
  async afterFlush({ em }: FlushEventArgs): Promise<void> {
    const collected = this.#of(em);
    for (const it of collected) it.state = 'flushed';
    if (em.isInTransaction() || collected.length === 0) return;
    this.#collected.delete(em);
    await em.transactional((tx) => void this.#collected.set(tx, collected), { clear: true });
  }

  /** Releasing a savepoint is no commit: the enclosing transaction wakes the relay when it commits. */
  afterTransactionCommit({ transaction }: TransactionEventArgs): void {
    if (!takeOutboxWritten(transaction)) return;
    const enclosing = transaction && this.#enclosing.get(transaction);
    if (enclosing) markOutboxWritten(enclosing);
    else this.#options.wakeRelay();
  }

  /**
   * After a rollback, what happens to an entity's events depends on its state:
   * - flushed: its change is void, and so are its events;
   * - changed, but not written when the flush failed: still changed in memory and written by the next flush, so it gets its
   *   events back;
   * - unchanged: it gets back the events that were raised before the transaction or savepoint began.
   */
  afterTransactionRollback({ em, transaction }: TransactionEventArgs): void {
    const began = this.#began.get(em) ?? 0;
    for (const { entity, events, state } of this.#of(em)) {
      if (state === 'changed') restoreEvents(entity, events);
      if (state === 'unchanged')
        restoreEvents(
          entity,
          events.filter((event) => wasRaisedBefore(event, began)),
        );
    }
    this.#collected.delete(em);
    takeOutboxWritten(transaction);
  }

  #of(em: object): readonly Collected[] {
    return this.#collected.get(em) ?? [];
  }
}

/** The collected events of an entity, and the progress of the flush with that entity. */
interface Collected {
  readonly entity: object;
  readonly events: readonly DomainEvent[];
  state: 'unchanged' | 'changed' | 'flushed';
  /** Its primary key, if the flush creates it. */
  readonly createdId: unknown;
}
