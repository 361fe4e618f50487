import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { execute } from '../sql.ts';
import { asStored } from '../store/genuine.ts';
import { handles } from './consumer-circuit.ts';
import { SELECT_CURSOR } from './cursor.ts';
import { type Delivery, deferOutOfOrder, deleteDeferred } from './deferred-deliveries.ts';
import { progressOf } from './inbox-rows.ts';
import { receive } from './receive.ts';

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
  const canApply = !mustRead || hasRead;
  return orm.em.fork().transactional(async (em) => {
    const { outcome, event, isDue } = await receive(em, consumer, delivery, { isHandled, canApply, isOwn });
    if (outcome === 'deferred') return { kind: 'deferred' };
    if (outcome === 'out of order' || outcome === 'unread') {
      const due = outcome === 'unread' ? 'now' : 'after the one before it';
      await deferOutOfOrder(em, consumer, { ...delivery, event }, due);
      return { kind: 'deferred', due: outcome === 'unread' };
    }
    if (row !== undefined) await deleteDeferred(em, consumer.name, row);
    if (outcome === 'duplicate') return { kind: 'duplicate' };
    if (isHandled) await consumer.handle(em, event, read);
    return { kind: 'applied', due: isDue };
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

const cursorKey = (consumer: Consumer, event: ReceivedEvent) => [consumer.name, event.source, event.aggregateId];
