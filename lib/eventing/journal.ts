import type { EntityManager } from '@mikro-orm/postgresql';
import type { Keyring } from './keyring.ts';
import { array, execute } from './sql.ts';

/** A fact and how far it has come, as operators see it. Of another system's fact only what this system did with it. */
export interface Journey {
  readonly id: string;
  readonly type?: string;
  readonly aggregateType?: string;
  readonly aggregateId?: string;
  readonly sequence?: number;
  readonly committedAt?: string;
  readonly channel?: string;
  readonly requestedBy?: string;
  readonly reason?: string;
  readonly traceparent?: string;
  /** The attribute types. Values are for consumers only. */
  readonly attributes?: readonly string[];
  readonly messages: readonly Message[];
  readonly handledBy: readonly { consumer: string; at: string }[];
  readonly kept: readonly KeptDelivery[];
}

export interface Message {
  readonly id: string;
  readonly channel: string;
  readonly topic: string;
  readonly target: string;
  readonly createdAt: string;
  readonly relayedAt: string | null;
  readonly publishedAt: string | null;
  readonly attempts: number;
  readonly lastError: string | null;
}

export interface KeptDelivery {
  readonly consumer: string;
  readonly eventId: string;
  readonly eventType: string | null;
  readonly aggregateId: string | null;
  readonly sequence: number | null;
  readonly state: string;
  readonly attempts: number;
  readonly nextAttemptAt: string | null;
  readonly lastError: string | null;
  readonly receivedAt: string;
}

/** The journey of one fact; undefined when this system neither stated it nor received it. */
export async function findJourney(em: EntityManager, keyring: Keyring, eventId: string): Promise<Journey | undefined> {
  const facts = await execute<FactRow>(em, `${FACTS} where id = ?`, [eventId]);
  const [journey] = await journeys(em, keyring, [eventId], facts);
  const known = facts.length > 0 || (journey && journey.handledBy.length + journey.kept.length > 0);
  return known ? journey : undefined;
}

/** The journeys of an aggregate's facts, in sequence, at most `limit` of them after sequence `after`. */
export async function findJourneys(
  em: EntityManager,
  keyring: Keyring,
  { aggregateId, after, limit }: { aggregateId: string; after: number; limit: number },
): Promise<Journey[]> {
  const facts = await execute<FactRow>(
    em,
    `${FACTS} where aggregate_id = ? and sequence > ? order by sequence limit ?`,
    [aggregateId, after, limit],
  );
  return journeys(
    em,
    keyring,
    facts.map((fact) => fact.id),
    facts,
  );
}

/**
 * Deliveries that consumers gave up, oldest first; with `state` also others that are kept. At most `limit` of those received after `after`,
 * and whatever was received in the same millisecond as the last of them: who asks on from there misses none.
 */
export function findKept(
  em: EntityManager,
  {
    state,
    after,
    limit,
  }: { state: 'early' | 'failing' | 'dead' | 'discarded'; after?: string | undefined; limit: number },
): Promise<KeptDelivery[]> {
  return execute<KeptDelivery>(
    em,
    `${KEPT} where state = ? and date_trunc('milliseconds', received_at) > ?::timestamptz
      order by date_trunc('milliseconds', received_at) fetch first ? rows with ties`,
    [state, after ?? '-infinity', limit],
  );
}

/** What was received, to be looked at before a redrive: the event with its values encrypted, or the body that could not be read. */
export async function findKeptBody(
  em: EntityManager,
  consumer: string,
  eventId: string,
): Promise<{ event: unknown; raw: string | null } | undefined> {
  const [row] = await execute<{ envelope: unknown; raw: string | null }>(
    em,
    'select envelope, raw from eventing.kept_delivery where consumer = ? and event_id = ?',
    [consumer, eventId],
  );
  return row && { event: row.envelope, raw: row.raw };
}

/** A message that could not be published, held back with its key until an operator lets it go. */
export interface ParkedMessage {
  readonly id: string;
  /** Its place in the outbox. */
  readonly position: number;
  readonly eventId: string;
  readonly topic: string;
  readonly orderingKey: string;
  readonly attempts: number;
  readonly lastError: string | null;
  readonly parkedAt: string;
}

/** Messages that the relay has parked, oldest first, at most `limit` of them after position `after`. */
export function findParked(
  em: EntityManager,
  { after, limit }: { after: number; limit: number },
): Promise<ParkedMessage[]> {
  return execute<ParkedMessage>(
    em,
    `select id, position::float8 as position, event_id as "eventId", topic, ordering_key as "orderingKey", attempts, last_error as "lastError",
       ${iso('parked_at', 'parkedAt')}
       from eventing.outbox where parked_at is not null and position > ? order by position limit ?`,
    [after, limit],
  );
}

/** How far an aggregate's facts go. */
export interface Head {
  readonly aggregateId: string;
  readonly sequence: number;
}

/** The heads of all aggregates in the order of their ids, at most `limit` of those after aggregate `after`. */
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

/** One fact, as another system's subscriber can find it again. */
export interface Position extends Head {
  readonly eventId: string;
}

/** The fact whose message came back last on a topic; undefined when none ever has. */
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

interface FactRow {
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

async function journeys(em: EntityManager, keyring: Keyring, ids: string[], facts: FactRow[]): Promise<Journey[]> {
  const [messages, handled, kept] = await Promise.all([
    execute<Message & { eventId: string }>(
      em,
      `${MESSAGES} where event_id = any(?::uuid[]) order by created_at, channel desc`,
      [array(ids)],
    ),
    execute<{ eventId: string; consumer: string; at: string }>(em, HANDLED, [array(ids)]),
    execute<KeptDelivery>(em, `${KEPT} where event_id = any(?::uuid[]) order by received_at`, [array(ids)]),
  ]);
  return Promise.all(
    ids.map(async (id) => {
      const fact = facts.find((row) => row.id === id);
      return {
        ...(fact ? await describeFact(em, keyring, fact) : { id }),
        messages: messages.filter((row) => row.eventId === id).map(({ eventId: _, ...message }) => message),
        handledBy: handled.filter((row) => row.eventId === id).map(({ eventId: _, ...by }) => by),
        kept: kept.filter((row) => row.eventId === id),
      };
    }),
  );
}

async function describeFact(em: EntityManager, keyring: Keyring, { encryptedReason, ...fact }: FactRow) {
  if (encryptedReason === null) return fact;
  const revealed = await keyring.reveal(
    em,
    { aggregateId: fact.aggregateId, eventId: fact.id },
    { '#reason': encryptedReason },
  );
  return { ...fact, reason: String(revealed['#reason']) };
}

/** As JSON writes a moment, in UTC. */
const iso = (column: string, name: string) =>
  `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as "${name}"`;

const FACTS = `
select id, event_type as type, aggregate_type as "aggregateType", aggregate_id as "aggregateId", sequence::float8 as sequence,
  ${iso('created_at', 'committedAt')}, event_channel as channel, requested_by as "requestedBy", traceparent, reason as "encryptedReason",
  array(select jsonb_object_keys(attributes) order by 1) as attributes
from eventing.event_store`;

const MESSAGES = `
select id, event_id as "eventId", channel, topic, target, ${iso('created_at', 'createdAt')}, ${iso('relayed_at', 'relayedAt')},
  ${iso('published_at', 'publishedAt')}, attempts, last_error as "lastError"
from eventing.delivery`;

const HANDLED = `
select event_id as "eventId", consumer, ${iso('handled_at', 'at')} from eventing.inbox
where event_id = any(?::uuid[]) order by handled_at`;

const KEPT = `
select consumer, event_id as "eventId", event_type as "eventType", aggregate_id as "aggregateId", sequence::float8 as sequence, state, attempts,
  ${iso('next_attempt_at', 'nextAttemptAt')}, last_error as "lastError", ${iso('received_at', 'receivedAt')}
from eventing.kept_delivery`;
