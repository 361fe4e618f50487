import type { MikroORM } from '@mikro-orm/postgresql';
import { v5 as derivedId, v4 as randomId } from 'uuid';
import type { ReceivedEvent } from '../cloud-event.ts';
import { hasConflictTables } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { type DeferredState, defer, type Failure, storable } from './deferred-deliveries.ts';

/** A received body that belongs to no consumer, because it cannot be parsed or is not genuine. */
export interface Body {
  /** The receiving app; operators find the body under `bodiesOf(appId)`. */
  readonly appId: string;
  readonly topic: string;
  readonly raw: string;
  /** Event id of its row, when it was deferred before. */
  readonly row?: string | undefined;
}

/**
 * Returns the consumer name under which an app's bodies are stored. Under the app-id itself the previous release would
 * take them for a consumer's deliveries.
 */
export const bodiesOf = (appId: string): string => `${appId}:body`;

const BODY_NAMESPACE = '5d3b6a04-6a4e-4c5c-9c52-3f1b0b8f2f0e';

/**
 * Defers a body, as `deferFailed` does with a delivery. A redelivered body gets the same row.
 * @param event the event that the body claims to be, shown to operators
 */
export async function deferBody(
  orm: MikroORM,
  { appId, topic, raw, row }: Body,
  failure: Failure,
  event?: ReceivedEvent,
): Promise<DeferredState> {
  // Bodies that could not be received at all are empty, and cannot be recognised as the same.
  const id = row ?? (raw === '' ? randomId() : derivedId(JSON.stringify([appId, topic, raw]), BODY_NAMESPACE));
  const claimed = [event?.aggregateId ?? null, event?.sequence ?? null, event?.type ?? null];
  // Without a stream, so that a forged sequence cannot move a cursor.
  const state = await defer(orm, [bodiesOf(appId), id, null, ...claimed, null, storable(raw)], failure);
  const em = orm.em.fork();
  if (await hasConflictTables(em)) await execute(em, SET_TOPIC, [topic, bodiesOf(appId), id]);
  return state;
}

const SET_TOPIC = 'update eventing.kept_delivery set topic = ? where consumer = ? and event_id = ?';

/** Deletes the row of a body that was handled. */
export async function deleteBody(orm: MikroORM, appId: string, row: string): Promise<void> {
  const condition = "consumer = ? and event_id = ? and state = 'failing'";
  await execute(orm.em.fork(), `delete from eventing.kept_delivery where ${condition}`, [bodiesOf(appId), row]);
}
