import type { InternalData } from './cloud-event.ts';

/** A fact that the database has lost and got back from the topic; its values are encrypted. */
export interface LostFact {
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly time: string;
  readonly traceparent: string;
  readonly data: InternalData;
}

/** What FACT selects. */
export interface FactRow extends Omit<LostFact, 'data' | 'time'> {
  readonly time: Date;
  readonly attributes: Record<string, string>;
  readonly reason: string | null;
}

/** Columns of a row of the event store, `f`. */
export const FACT = `
f.id as "eventId", f.event_type as type, f.aggregate_id as "aggregateId", f.sequence::float8 as sequence, f.created_at as time, f.traceparent,
  f.attributes, f.reason`;

export function factOf({ attributes, reason, time, ...fact }: FactRow): LostFact {
  return { ...fact, time: new Date(time).toISOString(), data: { attributes, ...(reason && { reason }) } };
}
