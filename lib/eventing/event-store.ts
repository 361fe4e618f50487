import type { EventArgs, EventSubscriber, FlushEventArgs, TransactionEventArgs } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { type Envelope, envelope, SEQUENCE_DIGITS, type System, sourceOf, topicOf } from './cloud-event.ts';
import { type DomainEvent, giveBack, momentOfRaising, takeRaised, wasRaisedBefore } from './domain-event.ts';
import { encryptValue, type Keyring } from './keyring.ts';
import { takeWroteOutbox, wroteOutbox } from './outbox.ts';
import { provenance } from './provenance.ts';
import { execute } from './sql.ts';

/** The largest message, in bytes, that every broker takes in its default settings, with room for what Dapr adds. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

export interface EventStoreOptions {
  readonly system: System;
  /** The program that writes, stored with each fact: `member`, `other-device-logout`. */
  readonly channel: string;
  readonly keyring: Keyring;
  /** Called after a commit that left rows for the relay. */
  readonly wakeRelay: () => void;
}

/**
 * Writes what entities raised, as facts and as internal messages, in the transaction that writes the entities: a fact exists
 * if and only if its transaction committed.
 *
 * Facts are collected before each flush, from every entity that the unit of work knows (one without a column change has no change
 * set), and written just before the commit, or before the release of a savepoint, so that a savepoint's rollback takes its facts along.
 * Late, because the row locks of the aggregates' heads are then held for the shortest time.
 */
export class EventStore implements EventSubscriber {
  readonly #options: EventStoreOptions;
  readonly #collected = new WeakMap<object, readonly Stated[]>();
  /** Of a savepoint, the transaction or savepoint around it. */
  readonly #around = new WeakMap<object, object | undefined>();
  /** By entity manager: when its transaction or savepoint began, in facts raised. */
  readonly #began = new WeakMap<object, number>();

  constructor(options: EventStoreOptions) {
    this.#options = options;
  }

  beforeTransactionStart({ em, transaction: around }: TransactionEventArgs): void {
    this.#around.set(em, around);
    this.#began.set(em, momentOfRaising());
  }

  afterTransactionStart({ em, transaction }: TransactionEventArgs): void {
    if (transaction) this.#around.set(transaction, this.#around.get(em));
  }

  /** After the change sets are computed: then entities are known, too, that only others refer to. */
  onFlush({ em, uow }: FlushEventArgs): void {
    const entities = new Set<object>([...uow.getIdentityMap(), ...uow.getPersistStack(), ...uow.getRemoveStack()]);
    const changed = new Set<object>(uow.getChangeSets().map(({ entity }) => entity));
    const raised = [...entities].map((entity): Stated => {
      return { entity, events: takeRaised(entity), state: changed.has(entity) ? 'changed' : 'unchanged' };
    });
    const stated = raised.filter(({ events }) => events.length > 0);
    if (stated.length > 0) this.#collected.set(em, [...this.#of(em), ...stated]);
  }

  afterCreate({ em, entity }: EventArgs<object>): void {
    this.#isFlushed(em, entity);
  }

  afterUpdate({ em, entity }: EventArgs<object>): void {
    this.#isFlushed(em, entity);
  }

  afterDelete({ em, entity }: EventArgs<object>): void {
    this.#isFlushed(em, entity);
  }

  /** From now on the unit of work takes the entity for stored, and never writes it again, even if this is rolled back. */
  #isFlushed(em: object, entity: object): void {
    for (const it of this.#of(em)) if (it.entity === entity) it.state = 'flushed';
  }

  async beforeTransactionCommit({ em }: TransactionEventArgs): Promise<void> {
    const events = this.#take(em);
    if (events.length > 0) await appendFacts(em as EntityManager, events, this.#options);
  }

  /** A flush without a column change opens no transaction: facts that it found get one of their own. */
  async afterFlush({ em }: FlushEventArgs): Promise<void> {
    const stated = this.#of(em);
    for (const it of stated) it.state = 'flushed';
    if (em.isInTransaction() || stated.length === 0) return;
    this.#collected.delete(em);
    await em.transactional((tx) => void this.#collected.set(tx, stated), { clear: true });
  }

  /** A savepoint that is released is not a commit yet: what it wrote is its surroundings' to tell the relay. */
  afterTransactionCommit({ transaction }: TransactionEventArgs): void {
    if (!takeWroteOutbox(transaction)) return;
    const around = transaction && this.#around.get(transaction);
    if (around) wroteOutbox(around);
    else this.#options.wakeRelay();
  }

  /**
   * A fact goes the way of what it is about. What was flushed and is rolled back is void. What was still to be written when the flush failed
   * is still changed in memory, and the next flush writes it: its facts go back to it. A fact without a change goes back if it was stated
   * before all this began.
   */
  afterTransactionRollback({ em, transaction }: TransactionEventArgs): void {
    const began = this.#began.get(em) ?? 0;
    for (const { entity, events, state } of this.#of(em)) {
      if (state === 'changed') giveBack(entity, events);
      if (state === 'unchanged')
        giveBack(
          entity,
          events.filter((event) => wasRaisedBefore(event, began)),
        );
    }
    this.#collected.delete(em);
    takeWroteOutbox(transaction);
  }

  #of(em: object): readonly Stated[] {
    return this.#collected.get(em) ?? [];
  }

  #take(em: object): DomainEvent[] {
    const stated = this.#of(em);
    this.#collected.delete(em);
    return stated.flatMap(({ events }) => events);
  }
}

/** What an entity has stated, and how far the flush that found it has come with the entity. */
interface Stated {
  readonly entity: object;
  readonly events: readonly DomainEvent[];
  state: 'unchanged' | 'changed' | 'flushed';
}

interface NewFact {
  id: string;
  aggregate_type: string;
  aggregate_id: string;
  event_type: string;
  attributes: Record<string, string>;
  reason: string | null;
  message: Envelope;
}

/** Stores facts and their internal messages: one statement to find the keys, one for everything else. */
async function appendFacts(
  em: EntityManager,
  events: readonly DomainEvent[],
  options: EventStoreOptions,
): Promise<void> {
  const { requestedBy, traceparent } = provenance();
  const erased = [...new Set(events.filter((event) => event.erases).map((event) => event.aggregateId))];
  const keys = await options.keyring.keysFor(em, [...new Set(events.map((event) => event.aggregateId))], { erased });
  const time = new Date().toISOString();
  const facts = events.map((event) =>
    newFact(event, keys.get(event.aggregateId)!, { system: options.system, time, traceparent }),
  );
  await execute(em, APPEND, [
    JSON.stringify(facts),
    options.channel,
    requestedBy,
    traceparent,
    time,
    topicOf(options.system, 'internal'),
  ]);
  if (erased.length > 0) await options.keyring.destroy(em, erased);
  wroteOutbox(em.getTransactionContext());
}

function newFact(
  event: DomainEvent,
  key: Buffer,
  { system, time, traceparent }: { system: System; time: string; traceparent: string },
): NewFact {
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
    throw new RangeError(`${event.type} has ${bytes} bytes as a message; brokers take ${MAX_MESSAGE_BYTES}`);
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

// Heads are locked in the order of their ids, against deadlocks between transactions that state facts about the same two aggregates.
// Whoever holds a head's lock commits before the next may read it, so sequences are gapless and in the order of commits.
const APPEND = `
with fact as (
  select row_number() over () as ord, f.* from jsonb_to_recordset(?::jsonb)
    as f(id uuid, aggregate_type text, aggregate_id uuid, event_type text, attributes jsonb, reason text, message jsonb)
), head as (
  insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence)
  select aggregate_type, aggregate_id, count(*) from fact group by 1, 2 order by 1, 2
  on conflict (aggregate_type, aggregate_id)
    do update set last_sequence = s.last_sequence + excluded.last_sequence, changed_at = clock_timestamp()
  returning aggregate_type, aggregate_id, last_sequence
), numbered as (
  select fact.*, head.last_sequence - count(*) over (partition by aggregate_type, aggregate_id)
      + row_number() over (partition by aggregate_type, aggregate_id order by ord) as sequence
  from fact join head using (aggregate_type, aggregate_id)
), stored as (
  insert into eventing.event_store
    (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
  select id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, ?, ?, ?, ?::timestamptz from numbered
)
insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
select (message ->> 'id')::uuid, id, 'internal', ?, aggregate_id::text,
    message || jsonb_build_object('sequence', lpad(sequence::text, ${SEQUENCE_DIGITS}, '0'))
  from numbered order by ord`;
