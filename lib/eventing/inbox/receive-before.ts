import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasConflictTables, hasHorizon } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { asStored, ConflictError } from '../store/genuine.ts';
import { advance, lockCursor, recordSequence } from './cursor.ts';
import { type Delivery, deleteDeferred } from './deferred-deliveries.ts';
import { progressOf } from './inbox-rows.ts';
import type { Received, ReceiveOptions } from './receive.ts';

type Name = Pick<Consumer, 'name'>;

/**
 * `receive` for the schema of the last release, which has no function for it (docs/decisions/0015). Remove this file in the next release.
 */
export async function receiveBefore(
  em: EntityManager,
  { name, order }: Pick<Consumer, 'name' | 'order'>,
  { event: received, row }: Pick<Delivery, 'event' | 'row'>,
  options: ReceiveOptions,
): Promise<Received> {
  const { isOwn } = options;
  const event = isOwn ? await asStored(em, received) : received;
  const result = { event, isDue: false };
  if (row === undefined && (await isDeferred(em, { name }, event, isOwn))) return { ...result, outcome: 'deferred' };
  if (order === 'ordered') return inSequence(em, { name }, event, options);
  // A deferred event was judged before it was deferred.
  if (await insertInboxRow(em, { name }, event, row === undefined ? 'if not too old' : 'any age'))
    return { ...result, outcome: 'apply' };
  if (row === undefined) await progressOf(em, { name }, event);
  return { ...result, outcome: 'duplicate' };
}

async function inSequence(
  em: EntityManager,
  { name }: Name,
  event: ReceivedEvent,
  { isHandled, canApply, isOwn }: ReceiveOptions,
): Promise<Received> {
  const key = [name, event.source, event.aggregateId];
  const result = { event, isDue: false };
  const last = await lockCursor(em, key);
  if (event.sequence <= last) {
    if (!isOwn) await assertSameAsApplied(em, key, event);
    return { ...result, outcome: 'duplicate' };
  }
  if (event.sequence > last + 1) return { ...result, outcome: 'out of order' };
  if (!canApply) return { ...result, outcome: 'unread' };
  if (isHandled) await insertInboxRow(em, { name }, event, 'any age');
  if (!isOwn) await recordSequence(em, key, event.sequence, event);
  return { ...result, outcome: 'apply', isDue: await advance(em, key, event.sequence) };
}

/**
 * Inserts the inbox row of an event that is being applied. A concurrent insertion of the same row is waited for.
 * @param age whether an event that is older than the inbox reaches is refused
 * @returns false when there was a row, or the event is too old
 */
async function insertInboxRow(
  em: EntityManager,
  { name }: Name,
  { eventId }: Pick<ReceivedEvent, 'eventId'>,
  age: 'any age' | 'if not too old',
): Promise<boolean> {
  const isBounded = age === 'if not too old' && (await hasHorizon(em));
  const rows = await execute(em, isBounded ? INSERT_BOUNDED : INSERT, [name, eventId, ...(isBounded ? [eventId] : [])]);
  return rows.length > 0;
}

// In one statement, so that the horizon cannot move in between: housekeeping waits for this transaction before it drops rows.
const INSERT_BOUNDED = `
insert into eventing.inbox (consumer, event_id) select ?, ?
 where ?::uuid >= (select first_id from eventing.horizon where name = 'inbox') on conflict do nothing returning event_id`;
const INSERT =
  'insert into eventing.inbox (consumer, event_id) values (?, ?) on conflict do nothing returning event_id';

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
async function isDeferred(em: EntityManager, consumer: Name, event: ReceivedEvent, isOwn: boolean): Promise<boolean> {
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
