import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasHorizon } from '../schema-before.ts';
import { execute } from '../sql.ts';

/** An event older than the inbox reaches: whether a convergent consumer has applied it is not known. */
export class TooOldError extends Error {
  override readonly name = 'TooOldError';
}

/**
 * Inserts the inbox row of an event that is being applied. A concurrent insertion of the same row is waited for.
 * @param age whether an event that is older than the inbox reaches is refused
 * @returns false when there was a row, or the event is too old
 */
export async function insertInboxRow(
  em: EntityManager,
  { name }: Pick<Consumer, 'name'>,
  event: ReceivedEvent,
  age: 'any age' | 'if not too old',
): Promise<boolean> {
  const isBounded = age === 'if not too old' && (await hasHorizon(em));
  const values = isBounded ? [name, event.eventId, momentOf(event)] : [name, event.eventId];
  return (await execute(em, isBounded ? INSERT_BOUNDED : INSERT, values)).length > 0;
}

// In one statement, so that the horizon cannot move in between: housekeeping waits for this transaction before it drops rows.
const INSERT_BOUNDED = `
insert into eventing.inbox (consumer, event_id) select ?, ?
 where to_timestamp(?::float8 / 1000) >= (select at from eventing.horizon where name = 'inbox') on conflict do nothing returning event_id`;
const INSERT =
  'insert into eventing.inbox (consumer, event_id) values (?, ?) on conflict do nothing returning event_id';

/**
 * Returns whether a convergent consumer has applied an event.
 * @throws TooOldError when that is not known
 */
export async function wasApplied(
  em: EntityManager,
  { name, order }: Pick<Consumer, 'name' | 'order'>,
  event: ReceivedEvent,
): Promise<boolean> {
  if (order === 'ordered' || !(await hasHorizon(em))) return false;
  const moment = momentOf(event);
  type Row = { isApplied: boolean; horizon: string; isTooOld: boolean };
  const [row] = await execute<Row>(em, JUDGE, [name, event.eventId, moment]);
  const { isApplied, isTooOld, horizon } = row!;
  if (isApplied || !isTooOld) return isApplied;
  const at = new Date(moment).toISOString();
  throw new TooOldError(
    `The event is from ${at}, and the inbox reaches back to ${horizon}: whether it was applied is not known`,
  );
}

const JUDGE = `
select exists (select from eventing.inbox where consumer = ? and event_id = ?) as "isApplied", to_timestamp(?::float8 / 1000) < at as "isTooOld",
  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as horizon from eventing.horizon where name = 'inbox'`;

const UUID_V7 = /^([\da-f]{8})-([\da-f]{4})-7/;

/**
 * Returns when an event occurred, in milliseconds since 1970. Its id says it, which is what housekeeping goes by; ids of other systems may be
 * of another version.
 */
function momentOf({ eventId, time }: Pick<ReceivedEvent, 'eventId' | 'time'>): number {
  const [, high, low] = UUID_V7.exec(eventId) ?? [];
  return high ? Number.parseInt(`${high}${low}`, 16) : Date.parse(time);
}
