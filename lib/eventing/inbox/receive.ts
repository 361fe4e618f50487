import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasReceive } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { ConflictError, NotGenuineError } from '../store/genuine.ts';
import { type EventRow, eventOf } from '../store/stored-event.ts';
import type { Delivery } from './deferred-deliveries.ts';
import { TooOldError } from './inbox-rows.ts';
import { receiveBefore } from './receive-before.ts';

/** What a consumer does with an event that it has received. */
export interface Received {
  /**
   * `apply`: the event is recorded as applied, in the caller's transaction, which applies it or rolls back. `deferred`: it was before.
   * `unread`: it is its turn, but what the consumer needs was not read yet.
   */
  readonly outcome: 'apply' | 'duplicate' | 'deferred' | 'out of order' | 'unread';
  /** The event; one of this system as the event store has it. */
  readonly event: ReceivedEvent;
  /** Whether a deferred delivery of this aggregate has become due by it. */
  readonly isDue: boolean;
}

export interface ReceiveOptions {
  /** Whether the consumer handles events of this type. */
  readonly isHandled: boolean;
  /** Whether an ordered consumer has read what it needs, if it needs anything. */
  readonly canApply: boolean;
  /** Whether the event is of the system that owns the database. */
  readonly isOwn: boolean;
}

/**
 * Decides what a consumer does with an event, and records it as applied if it is to be applied. One call of a function, in the
 * consumer's transaction; an ordered consumer holds the lock of the aggregate's cursor from then on.
 * @throws ConflictError when the event was never stored, or another one has its id or sequence; TooOldError when a convergent consumer
 *   can no longer know whether it applied the event
 */
export async function receive(
  em: EntityManager,
  { name, order }: Pick<Consumer, 'name' | 'order'>,
  { event, row }: Pick<Delivery, 'event' | 'row'>,
  options: ReceiveOptions,
): Promise<Received> {
  if (!(await hasReceive(em))) return receiveBefore(em, { name, order }, { event, row }, options);
  const { isHandled, canApply, isOwn } = options;
  const { eventId, source, aggregateId, sequence, type } = event;
  const flags = [order === 'ordered', isHandled, canApply, row === undefined, isOwn];
  const [answer] = await execute<Answer>(em, RECEIVE, [name, ...flags, eventId, source, aggregateId, sequence, type]);
  const { outcome, isDue, horizon, other, ...stored } = answer!;
  const what = `sequence ${sequence} of ${aggregateId}`;
  switch (outcome) {
    case 'not genuine':
      throw new NotGenuineError(event);
    case 'too old':
      throw new TooOldError(eventId, horizon!);
    case 'other deferred':
      throw new ConflictError(`event ${eventId} is deferred as ${other}, but this is ${what}`);
    case 'other applied':
      throw new ConflictError(`${what} was applied as event ${other}, but this is event ${eventId} ${type}`);
    default:
      return { outcome, isDue, event: isOwn ? asStored(event, stored) : event };
  }
}

interface Answer extends Pick<EventRow, 'time' | 'attributes' | 'reason' | 'traceparent'> {
  readonly outcome: Received['outcome'] | 'not genuine' | 'too old' | 'other deferred' | 'other applied';
  readonly isDue: boolean;
  readonly horizon: string | null;
  readonly other: string | null;
}

const RECEIVE = `
select outcome, is_due as "isDue", horizon, other, created_at as time, attributes, reason, traceparent
  from eventing.receive_1(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

function asStored(event: ReceivedEvent, stored: Pick<EventRow, 'time' | 'attributes' | 'reason' | 'traceparent'>) {
  const { eventId, type, aggregateId, sequence } = event;
  return { ...event, ...eventOf({ eventId, type, aggregateId, sequence, ...stored }) };
}
