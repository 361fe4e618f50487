import type { KeyObject } from 'node:crypto';
import type { EventArgs, EventSubscriber, FlushEventArgs, TransactionEventArgs } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { type Envelope, envelope, SEQUENCE_DIGITS, type System, sourceOf, topicOf } from '../cloud-event.ts';
import { markOutboxWritten, takeOutboxWritten } from '../outbox/outbox.ts';
import { execute } from '../sql.ts';
import { type DomainEvent, raisedSoFar, restoreEvents, takeRaised, wasRaisedBefore } from './domain-event.ts';
import { EventingEntityManager } from './entity-manager.ts';
import { encryptValue, type Keyring } from './keyring.ts';
import { provenance } from './provenance.ts';

/** Largest message, in bytes, that every broker accepts by default, with room for what Dapr adds. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

export interface EventStoreOptions {
  readonly system: System;
  /** The program that records, stored with each event: `member`, `other-device-logout`. */
  readonly program: string;
  readonly keyring: Keyring;
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
    const entities = new Set<object>([...uow.getIdentityMap(), ...uow.getPersistStack(), ...uow.getRemoveStack()]);
    const changed = new Set<object>(uow.getChangeSets().map(({ entity }) => entity));
    const all = [...entities].map((entity): Collected => {
      return { entity, events: takeRaised(entity), state: changed.has(entity) ? 'changed' : 'unchanged' };
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
    const events = this.#take(em);
    if (events.length > 0) await appendEvents(em as EntityManager, events, this.#options);
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

  #take(em: object): DomainEvent[] {
    const collected = this.#of(em);
    this.#collected.delete(em);
    return collected.flatMap(({ events }) => events);
  }
}

/** The collected events of an entity, and the progress of the flush with that entity. */
interface Collected {
  readonly entity: object;
  readonly events: readonly DomainEvent[];
  state: 'unchanged' | 'changed' | 'flushed';
}

interface NewEvent {
  id: string;
  aggregate_type: string;
  aggregate_id: string;
  event_type: string;
  attributes: Record<string, string>;
  reason: string | null;
  message: Envelope;
}

/** Stores events and their internal messages: one statement reads the keys, one does everything else. */
async function appendEvents(
  em: EntityManager,
  events: readonly DomainEvent[],
  options: EventStoreOptions,
): Promise<void> {
  const { requestedBy, traceparent } = provenance();
  const erased = [...new Set(events.filter((event) => event.erases).map((event) => event.aggregateId))];
  const keys = await options.keyring.keysFor(em, [...new Set(events.map((event) => event.aggregateId))], { erased });
  const time = new Date().toISOString();
  const rows = events.map((event) =>
    newEvent(event, keys.get(event.aggregateId)!, { system: options.system, time, traceparent }),
  );
  await execute(em, APPEND, [
    JSON.stringify(rows),
    options.program,
    requestedBy,
    traceparent,
    time,
    topicOf(options.system, 'internal'),
  ]);
  if (erased.length > 0) await options.keyring.destroy(em, erased);
  markOutboxWritten(em.getTransactionContext());
}

function newEvent(
  event: DomainEvent,
  key: KeyObject,
  { system, time, traceparent }: { system: System; time: string; traceparent: string },
): NewEvent {
  const id = uuid();
  const encrypt = ([name, value]: [string, unknown]) => [name, encryptValue(key, value, `${id}/${name}`)];
  const attributes = Object.fromEntries(Object.entries(event.attributes).map(encrypt)) as Record<string, string>;
  const reason = event.reason === undefined ? null : encryptValue(key, event.reason, `${id}/#reason`);
  const message = envelope({
    id: uuid(),
    source: sourceOf(system),
    type: event.type,
    subject: event.aggregateId,
    time,
    eventid: id,
    traceparent,
    data: { attributes, ...(reason && { reason }) },
  });
  const bytes = Buffer.byteLength(JSON.stringify(message));
  if (bytes > MAX_MESSAGE_BYTES) {
    throw new RangeError(`message of ${event.type} has ${bytes} bytes; brokers accept at most ${MAX_MESSAGE_BYTES}`);
  }
  return {
    id,
    aggregate_type: event.aggregateType,
    aggregate_id: event.aggregateId,
    event_type: event.type,
    attributes,
    reason,
    message,
  };
}

// Heads are locked in the order of their ids, to avoid deadlocks between transactions about the same two aggregates.
// A head's lock is held until the commit, so sequences are gapless and in commit order.
const APPEND = `
with raised as (
  select row_number() over () as ord, f.* from jsonb_to_recordset(?::jsonb)
    as f(id uuid, aggregate_type text, aggregate_id uuid, event_type text, attributes jsonb, reason text, message jsonb)
), head as (
  insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence)
  select aggregate_type, aggregate_id, count(*) from raised group by 1, 2 order by 1, 2
  on conflict (aggregate_type, aggregate_id)
    do update set last_sequence = s.last_sequence + excluded.last_sequence, changed_at = clock_timestamp()
  returning aggregate_type, aggregate_id, last_sequence
), numbered as (
  select raised.*, head.last_sequence - count(*) over (partition by aggregate_type, aggregate_id)
      + row_number() over (partition by aggregate_type, aggregate_id order by ord) as sequence
  from raised join head using (aggregate_type, aggregate_id)
), stored as (
  insert into eventing.event_store
    (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
  select id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, ?, ?, ?, ?::timestamptz from numbered
)
insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
select (message ->> 'id')::uuid, id, 'internal', ?, aggregate_id::text,
    message || jsonb_build_object('sequence', lpad(sequence::text, ${SEQUENCE_DIGITS}, '0'))
  from numbered order by ord`;
