import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasHorizon } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { SAME_EVENT } from './deferred-deliveries.ts';

/** An event older than the inbox reaches: whether a convergent consumer has applied it is not known. */
export class TooOldError extends Error {
  override readonly name = 'TooOldError';

  /** @param horizon the oldest id that the inbox still has */
  constructor(eventId: string, horizon: string) {
    const [at, reach] = [momentOf(eventId), momentOf(horizon)];
    super(`The event is from ${at}, and the inbox reaches back to ${reach}: whether it was applied is not known`);
  }
}

/**
 * Returns what a convergent consumer has done with an event: applied it, deferred it, given it up (dead or discarded), or none of these.
 * @param event of the own system only if it is verified
 * @throws TooOldError when that is not known
 */
export async function progressOf(
  em: EntityManager,
  { name }: Pick<Consumer, 'name'>,
  { eventId, source, aggregateId, sequence, type }: ReceivedEvent,
): Promise<'applied' | 'deferred' | 'given up' | 'none'> {
  if (!(await hasHorizon(em))) return 'none';
  const values = [name, eventId, name, eventId, source, aggregateId, sequence, type, eventId];
  type Row = { isApplied: boolean; state: string | null; isTooOld: boolean; horizon: string };
  const [row] = await execute<Row>(em, PROGRESS, values);
  const { isApplied, state, isTooOld, horizon } = row!;
  if (isApplied) return 'applied';
  if (state !== null) return state === 'dead' || state === 'discarded' ? 'given up' : 'deferred';
  if (!isTooOld) return 'none';
  throw new TooOldError(eventId, horizon);
}

const PROGRESS = `
select exists (select from eventing.inbox where consumer = ? and event_id = ?) as "isApplied",
  (select state from eventing.kept_delivery k where consumer = ? and event_id = ? and ${SAME_EVENT} = (?, ?, ?, ?)) as state,
  ?::uuid < first_id as "isTooOld", first_id as horizon from eventing.horizon where name = 'inbox'`;

/** Returns the time in a UUIDv7, ISO 8601. */
const momentOf = (id: string): string => new Date(Number.parseInt(id.replace('-', '').slice(0, 12), 16)).toISOString();
