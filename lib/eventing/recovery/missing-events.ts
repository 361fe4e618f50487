import type { EntityManager } from '@mikro-orm/postgresql';
import { hasOperatorActions } from '../schema-before.ts';
import { array, execute } from '../sql.ts';

/** A published event that an app never received, although it was requested again and again. */
export interface MissingEvent {
  readonly appId: string;
  readonly topic: string;
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  /** When the app stopped requesting it, ISO 8601. */
  readonly since: string;
}

/** Where an event is missing. */
export type Place = Pick<MissingEvent, 'appId' | 'topic'>;

/** Lists the missing events of all apps of the system, the oldest first. */
export async function findMissing(em: EntityManager, { limit }: { limit: number }): Promise<MissingEvent[]> {
  if (!(await hasOperatorActions(em))) return [];
  return execute<MissingEvent>(em, `${MISSING} order by abandoned_at limit ?`, [limit]);
}

/** Lists at most 500 of one place, in the order of their ids. @param after the id to continue after */
export async function findMissingAt(
  em: EntityManager,
  { appId, topic }: Place,
  after: string,
): Promise<MissingEvent[]> {
  if (!(await hasOperatorActions(em))) return [];
  return execute<MissingEvent>(
    em,
    `${MISSING} where app_id = ? and topic = ? and event_id > ?::uuid order by event_id limit 500`,
    [appId, topic, after],
  );
}

const MISSING = `
select app_id as "appId", topic, event_id as "eventId", event_type as type, aggregate_id as "aggregateId", sequence::float8 as sequence,
  to_char(abandoned_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since from eventing.missing_event`;

/** Records that an event is missing. */
export async function addMissing(
  em: EntityManager,
  { appId, topic }: Place,
  { eventId, type, aggregateId, sequence }: Pick<MissingEvent, 'eventId' | 'type' | 'aggregateId' | 'sequence'>,
): Promise<void> {
  if (!(await hasOperatorActions(em))) return;
  await execute(em, ADD, [appId, topic, eventId, type, aggregateId, sequence]);
}

const ADD = `
insert into eventing.missing_event (app_id, topic, event_id, event_type, aggregate_id, sequence) values (?, ?, ?, ?, ?, ?) on conflict do nothing`;

/** Deletes events that have arrived after all. */
export async function deleteMissing(
  em: EntityManager,
  { appId, topic }: Place,
  eventIds: readonly string[],
): Promise<void> {
  const values = [appId, topic, array(eventIds)];
  await execute(
    em,
    'delete from eventing.missing_event where app_id = ? and topic = ? and event_id = any(?::uuid[])',
    values,
  );
}
