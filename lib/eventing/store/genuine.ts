import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import { execute } from '../sql.ts';
import { EVENT_COLUMNS, type EventRow, eventOf } from './stored-event.ts';

/**
 * A message claims an event that its system never stored, or contradicts what was stored, sent or applied.
 * Retrying cannot help: the delivery becomes a dead letter immediately.
 */
export class ConflictError extends Error {
  override readonly name: string = 'ConflictError';
}

export class NotGenuineError extends ConflictError {
  override readonly name = 'NotGenuineError';

  constructor({ eventId, aggregateId, sequence, type }: ReceivedEvent) {
    super(`event_store has no event ${eventId} ${type} with sequence ${sequence} of ${aggregateId}`);
  }
}

/**
 * Reads an event of this system from the event store. Its content is taken from there, not from the message, which may
 * be forged.
 * @throws NotGenuineError when the event store has no event of this id, aggregate, sequence and type
 */
export async function asStored(em: EntityManager, event: ReceivedEvent): Promise<ReceivedEvent> {
  const [row] = await execute<EventRow>(em, `select ${EVENT_COLUMNS} from eventing.event_store f where f.id = ?`, [
    event.eventId,
  ]);
  if (!row || !isSame(row, event)) throw new NotGenuineError(event);
  return { ...event, ...eventOf(row) };
}

function isSame(row: EventRow, { aggregateId, sequence, type }: ReceivedEvent): boolean {
  return row.aggregateId === aggregateId && row.sequence === sequence && row.type === type;
}
