import type { InternalData } from '../cloud-event.ts';

/** An event as the event store has it. Its values are encrypted. */
export interface StoredEvent {
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly time: string;
  readonly traceparent: string;
  readonly data: InternalData;
}

/** A row selected by EVENT_COLUMNS. */
export interface EventRow extends Omit<StoredEvent, 'data' | 'time'> {
  readonly time: Date;
  readonly attributes: Record<string, string>;
  readonly reason: string | null;
}

/** Columns of a row of the event store, with alias `f`. */
export const EVENT_COLUMNS = `
f.id as "eventId", f.event_type as type, f.aggregate_id as "aggregateId", f.sequence::float8 as sequence, f.created_at as time, f.traceparent,
  f.attributes, f.reason`;

/** Converts a row of the event store. */
export function eventOf({ attributes, reason, time, ...event }: EventRow): StoredEvent {
  return { ...event, time: new Date(time).toISOString(), data: { attributes, ...(reason && { reason }) } };
}
