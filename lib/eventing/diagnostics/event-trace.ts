import type { EntityManager } from '@mikro-orm/postgresql';
import { array, execute } from '../sql.ts';
import type { Keyring } from '../store/keyring.ts';
import { DEFERRED, type DeferredDelivery, iso } from './waiting.ts';

/** The path of an event, for operators. For another system's event it shows only what this system did with it. */
export interface EventTrace {
  readonly id: string;
  readonly type?: string;
  readonly aggregateType?: string;
  readonly aggregateId?: string;
  readonly sequence?: number;
  readonly committedAt?: string;
  readonly program?: string;
  readonly requestedBy?: string;
  readonly reason?: string;
  readonly traceparent?: string;
  /** The attribute types. Values are for consumers only. */
  readonly attributes?: readonly string[];
  readonly messages: readonly Message[];
  readonly handledBy: readonly { consumer: string; at: string }[];
  readonly deferred: readonly DeferredDelivery[];
}

export interface Message {
  readonly id: string;
  readonly channel: string;
  readonly topic: string;
  readonly target: string;
  readonly createdAt: string;
  readonly sentAt: string | null;
  readonly publishedAt: string | null;
  readonly attempts: number;
  readonly lastError: string | null;
}

/** Finds the trace of one event; undefined when this system neither stored nor received it. */
export async function findTrace(em: EntityManager, keyring: Keyring, eventId: string): Promise<EventTrace | undefined> {
  const events = await execute<EventRow>(em, `${EVENTS} where id = ?`, [eventId]);
  const [trace] = await traces(em, keyring, [eventId], events);
  const exists = events.length > 0 || (trace && trace.handledBy.length + trace.deferred.length > 0);
  return exists ? trace : undefined;
}

/** Finds the traces of an aggregate's events, in sequence: at most `limit` after sequence `after`. */
export async function findTraces(
  em: EntityManager,
  keyring: Keyring,
  { aggregateId, after, limit }: { aggregateId: string; after: number; limit: number },
): Promise<EventTrace[]> {
  const events = await execute<EventRow>(
    em,
    `${EVENTS} where aggregate_id = ? and sequence > ? order by sequence limit ?`,
    [aggregateId, after, limit],
  );
  return traces(
    em,
    keyring,
    events.map((event) => event.id),
    events,
  );
}

/** The sequence of an aggregate's newest event. */
export interface Head {
  readonly aggregateId: string;
  readonly sequence: number;
}

/** Lists the heads of all aggregates in the order of their ids: at most `limit` after aggregate `after`. */
export function findHeads(
  em: EntityManager,
  { after, limit }: { after?: string | undefined; limit: number },
): Promise<Head[]> {
  return execute<Head>(
    em,
    `select aggregate_id as "aggregateId", last_sequence::float8 as sequence from eventing.stream
      where aggregate_id > ? order by aggregate_id limit ?`,
    [after ?? '00000000-0000-0000-0000-000000000000', limit],
  );
}

/** An event, with what another system's subscriber needs to look it up. */
export interface Position extends Head {
  readonly eventId: string;
}

/** Finds the event whose message was confirmed last on a topic; undefined when there is none. */
export async function findLatest(em: EntityManager, topic: string): Promise<Position | undefined> {
  const [row] = await execute<Position>(
    em,
    `select f.id as "eventId", f.aggregate_id as "aggregateId", f.sequence::float8 as sequence
       from (select event_id from eventing.published where topic = ? order by published_at desc limit 1) p
       join eventing.event_store f on f.id = p.event_id`,
    [topic],
  );
  return row;
}

interface EventRow {
  id: string;
  type: string;
  aggregateType: string;
  aggregateId: string;
  sequence: number;
  committedAt: string;
  channel: string;
  requestedBy: string;
  traceparent: string;
  encryptedReason: string | null;
  attributes: string[];
}

async function traces(em: EntityManager, keyring: Keyring, ids: string[], events: EventRow[]): Promise<EventTrace[]> {
  const [messages, handled, deferred] = await Promise.all([
    execute<Message & { eventId: string }>(
      em,
      `${MESSAGES} where event_id = any(?::uuid[]) order by created_at, channel desc`,
      [array(ids)],
    ),
    execute<{ eventId: string; consumer: string; at: string }>(em, HANDLED, [array(ids)]),
    execute<DeferredDelivery>(em, `${DEFERRED} where event_id = any(?::uuid[]) order by received_at`, [array(ids)]),
  ]);
  return Promise.all(
    ids.map(async (id) => {
      const event = events.find((row) => row.id === id);
      return {
        ...(event ? await describeEvent(em, keyring, event) : { id }),
        messages: messages.filter((row) => row.eventId === id).map(({ eventId: _, ...message }) => message),
        handledBy: handled.filter((row) => row.eventId === id).map(({ eventId: _, ...by }) => by),
        deferred: deferred.filter((row) => row.eventId === id),
      };
    }),
  );
}

async function describeEvent(em: EntityManager, keyring: Keyring, { encryptedReason, ...event }: EventRow) {
  if (encryptedReason === null) return event;
  const revealed = await keyring.reveal(
    em,
    { aggregateId: event.aggregateId, eventId: event.id },
    { '#reason': encryptedReason },
  );
  return { ...event, reason: String(revealed['#reason']) };
}

const EVENTS = `
select id, event_type as type, aggregate_type as "aggregateType", aggregate_id as "aggregateId", sequence::float8 as sequence,
  ${iso('created_at', 'committedAt')}, event_channel as program, requested_by as "requestedBy", traceparent, reason as "encryptedReason",
  array(select jsonb_object_keys(attributes) order by 1) as attributes
from eventing.event_store`;

const MESSAGES = `
select id, event_id as "eventId", channel, topic, target, ${iso('created_at', 'createdAt')}, ${iso('relayed_at', 'sentAt')},
  ${iso('published_at', 'publishedAt')}, attempts, last_error as "lastError"
from eventing.delivery`;

const HANDLED = `
select event_id as "eventId", consumer, ${iso('handled_at', 'at')} from eventing.inbox
where event_id = any(?::uuid[]) order by handled_at`;
