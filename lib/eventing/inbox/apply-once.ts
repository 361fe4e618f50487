import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasConflictTables } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { asStored, ConflictError } from '../store/genuine.ts';
import { handles } from './consumer-circuit.ts';
import { advance, lockCursor, recordSequence, SELECT_CURSOR } from './cursor.ts';
import { type Delivery, deferOutOfOrder, deleteDeferred } from './deferred-deliveries.ts';
import { insertInboxRow, progressOf } from './inbox-rows.ts';

/** Result of handling one event. */
export interface Outcome {
  readonly kind: 'applied' | 'duplicate' | 'deferred';
  /** A deferred delivery of this aggregate became runnable: wake the retry loop. */
  readonly due?: boolean;
}

export interface ApplyOptions {
  /** CloudEvents source of the system that owns this database: its events are checked against its event store. */
  readonly ownSource: string;
}

/**
 * Applies one event exactly once: the effect, and the inbox row or cursor, are written in one transaction.
 * @param delivery has `row` when it comes from `kept_delivery`; that row is deleted once the event is applied
 * @throws ConflictError when the event was never stored, or another one was applied with its sequence; TooOldError when a convergent
 *   consumer can no longer know whether it applied the event; errors of the consumer; errors of the database. Nothing is written then
 */
export async function applyOnce(
  orm: MikroORM,
  consumer: Consumer,
  delivery: Delivery,
  { ownSource }: ApplyOptions,
): Promise<Outcome> {
  const { event: received, row } = delivery;
  const isHandled = handles(consumer, received.type);
  if (!isHandled && consumer.order === 'convergent') {
    // An earlier version of the consumer, which handled this type, deferred it.
    if (row !== undefined) await deleteDeferred(orm.em.fork(), consumer.name, row);
    return { kind: 'applied' };
  }
  const isOwn = received.source === ownSource;
  const genuine = (em: EntityManager) => (isOwn ? asStored(em, received) : received);
  const mustRead = isHandled && consumer.read !== undefined;
  // Reading may fail for long, and must not make a deferred delivery of an event that is applied or too old.
  if (mustRead && consumer.order === 'convergent') {
    const em = orm.em.fork();
    const progress = await progressOf(em, consumer, await genuine(em));
    if (progress === 'applied') {
      if (row !== undefined) await deleteDeferred(em, consumer.name, row);
      return { kind: 'duplicate' };
    }
  }
  const hasRead = mustRead && (await isNext(orm, consumer, received));
  const read = hasRead ? await consumer.read?.(await genuine(orm.em.fork())) : undefined;
  return orm.em.fork().transactional(async (em) => {
    const event = await genuine(em);
    const apply = async (): Promise<boolean> => {
      if (mustRead && !hasRead) return false;
      if (isHandled) await consumer.handle(em, event, read);
      // No inbox row for an event that an ordered consumer only skips: traces would show it as handled.
      if (isHandled && consumer.order === 'ordered') await insertInboxRow(em, consumer, event, 'any age');
      return true;
    };
    if (row === undefined && (await isDeferred(em, consumer, event, isOwn))) return { kind: 'deferred' };
    const applyTurn = consumer.order === 'ordered' ? inSequence : once;
    const outcome = await applyTurn(em, consumer, { delivery: { ...delivery, event }, apply, isOwn });
    if (row !== undefined && outcome.kind !== 'deferred') await deleteDeferred(em, consumer.name, row);
    return outcome;
  });
}

/**
 * Returns whether it is the event's turn, so that reading makes sense. Without a lock: a wrong result only costs a
 * retry.
 */
async function isNext(orm: MikroORM, consumer: Consumer, event: ReceivedEvent): Promise<boolean> {
  if (consumer.order === 'convergent') return true;
  const [row] = await execute<{ last_sequence: string }>(orm.em.fork(), SELECT_CURSOR, cursorKey(consumer, event));
  return event.sequence === Number(row?.last_sequence ?? 0) + 1;
}

interface Turn {
  readonly delivery: Delivery;
  /** Applies the effect. Returns false, with nothing done, when the consumer has yet to read from its dependencies. */
  apply(): Promise<boolean>;
  readonly isOwn: boolean;
}

/** Convergent: inserting the inbox row decides. A concurrent second delivery waits there for the first one's outcome. */
async function once(
  em: EntityManager,
  consumer: Consumer,
  { delivery: { event, row }, apply }: Turn,
): Promise<Outcome> {
  // A deferred event was judged before it was deferred.
  const isNew = await insertInboxRow(em, consumer, event, row === undefined ? 'if not too old' : 'any age');
  if (!isNew) {
    if (row === undefined) await progressOf(em, consumer, event);
    return { kind: 'duplicate' };
  }
  await apply();
  return { kind: 'applied' };
}

/** Ordered: applies under the lock of the aggregate's cursor. */
async function inSequence(em: EntityManager, consumer: Consumer, { delivery, apply, isOwn }: Turn): Promise<Outcome> {
  const { event } = delivery;
  const key = cursorKey(consumer, event);
  const last = await lockCursor(em, key);
  if (event.sequence <= last) {
    if (!isOwn) await assertSameAsApplied(em, key, event);
    return { kind: 'duplicate' };
  }
  if (event.sequence > last + 1) {
    await deferOutOfOrder(em, consumer, delivery, 'after the one before it');
    return { kind: 'deferred' };
  }
  if (!(await apply())) {
    await deferOutOfOrder(em, consumer, delivery, 'now');
    return { kind: 'deferred', due: true };
  }
  if (!isOwn) await recordSequence(em, key, event.sequence, event);
  return { kind: 'applied', due: await advance(em, key, event.sequence) };
}

const cursorKey = (consumer: Consumer, event: ReceivedEvent) => [consumer.name, event.source, event.aggregateId];

/**
 * Detects a second event with an applied sequence: one of the two is forged. If the applied event is no longer recorded, it
 * counts as the same.
 * @throws ConflictError
 */
async function assertSameAsApplied(em: EntityManager, key: readonly unknown[], event: ReceivedEvent): Promise<void> {
  if (!(await hasConflictTables(em))) return;
  const [applied] = await execute<{ event_id: string; event_type: string }>(em, APPLIED, [...key, event.sequence]);
  if (!applied || (applied.event_id === event.eventId && applied.event_type === event.type)) return;
  const what = `sequence ${event.sequence} of ${event.aggregateId}`;
  throw new ConflictError(
    `${what} was applied as event ${applied.event_id} ${applied.event_type}, but this is event ${event.eventId} ${event.type}`,
  );
}

const APPLIED =
  'select event_id, event_type from eventing.applied where consumer = ? and stream = ? and aggregate_id = ? and sequence = ?';

/**
 * Returns whether this same event is deferred. An event of this system is verified by now, so it replaces a deferred
 * delivery that only claims its id.
 * @throws ConflictError when a different event of another system is deferred under this id: it must not replace this one
 */
async function isDeferred(
  em: EntityManager,
  consumer: Consumer,
  event: ReceivedEvent,
  isOwn: boolean,
): Promise<boolean> {
  const [deferred] = await execute<DeferredKey>(
    em,
    'select stream, aggregate_id, sequence, event_type from eventing.kept_delivery where consumer = ? and event_id = ?',
    [consumer.name, event.eventId],
  );
  if (!deferred) return false;
  const { source, aggregateId, sequence, type } = event;
  // Compared in lower case, because the previous release stored the id as received.
  const isSameAggregate = deferred.stream === source && deferred.aggregate_id?.toLowerCase() === aggregateId;
  if (isSameAggregate && deferred.event_type === type && Number(deferred.sequence) === sequence) return true;
  if (isOwn) {
    await deleteDeferred(em, consumer.name, event.eventId);
    return false;
  }
  const what = `sequence ${sequence} of ${aggregateId}`;
  throw new ConflictError(
    `event ${event.eventId} is deferred as sequence ${deferred.sequence} of ${deferred.aggregate_id}, but this is ${what}`,
  );
}

interface DeferredKey {
  readonly stream: string | null;
  readonly aggregate_id: string | null;
  readonly sequence: string | null;
  readonly event_type: string | null;
}
