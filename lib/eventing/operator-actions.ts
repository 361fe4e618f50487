import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as newId } from 'uuid';
import { hasOperatorActions } from './schema-before.ts';
import { execute } from './sql.ts';

/** What an operator did to events or messages. */
export interface OperatorAction {
  readonly action: 'redrive' | 'discard' | 'release' | 'skip';
  /** Who did it, as in `requestedBy` of an event. */
  readonly requestedBy: string;
  /** To what: ids, or the filter and how many matched. */
  readonly subject: object;
  readonly reason?: string | undefined;
}

/** Records an action in the table `eventing.operator_action`, in `em`'s transaction, so that it is recorded if and only if it was done. */
export async function recordAction(
  em: EntityManager,
  { action, requestedBy, subject, reason }: OperatorAction,
): Promise<void> {
  if (!(await hasOperatorActions(em))) return;
  const values = [newId(), requestedBy, action, JSON.stringify(subject), reason ?? null];
  await execute(em, RECORD, values);
}

const RECORD =
  'insert into eventing.operator_action (id, requested_by, action, subject, reason) values (?, ?, ?, ?::jsonb, ?)';

/** The most rows that one action may change, so that it ends in time. */
export const MOST_AT_ONCE = 1_000;

/** Which deferred deliveries; all conditions that are set must hold. */
export interface DeliveryFilter {
  readonly consumer?: string | undefined;
  readonly eventType?: string | undefined;
  /** Beginning of the last error. */
  readonly error?: string | undefined;
  /** Received at this time or later, ISO 8601. */
  readonly from?: string | undefined;
  /** Received before this time, ISO 8601. */
  readonly to?: string | undefined;
}

/** Returns a filter's conditions on `eventing.kept_delivery`. */
export const deliveryConditions = ({ consumer, eventType, error, from, to }: DeliveryFilter) =>
  conditionsOf({
    'consumer = ?': consumer,
    'event_type = ?': eventType,
    'starts_with(last_error, ?)': error,
    'received_at >= ?::timestamptz': from,
    'received_at < ?::timestamptz': to,
  });

/** Which parked messages; all conditions that are set must hold. */
export interface ParkedFilter {
  readonly topic?: string | undefined;
  /** Beginning of the last error. */
  readonly error?: string | undefined;
  /** Parked at this time or later, ISO 8601. */
  readonly from?: string | undefined;
  /** Parked before this time, ISO 8601. */
  readonly to?: string | undefined;
}

/** Returns a filter's conditions on `eventing.outbox`. */
export const parkedConditions = ({ topic, error, from, to }: ParkedFilter) =>
  conditionsOf({
    'topic = ?': topic,
    'starts_with(last_error, ?)': error,
    'parked_at >= ?::timestamptz': from,
    'parked_at < ?::timestamptz': to,
  });

/**
 * Conditions of a filter, as SQL, and their values. Only those that are set apply.
 * @param conditions by SQL with one `?`: its value
 */
function conditionsOf(conditions: Readonly<Record<string, unknown>>): { sql: string; values: unknown[] } {
  const set = Object.entries(conditions).filter(([, value]) => value !== undefined);
  return { sql: ['true', ...set.map(([sql]) => sql)].join(' and '), values: set.map(([, value]) => value) };
}
