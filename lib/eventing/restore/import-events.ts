import type { EntityManager } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { parseEnvelope, type ReceivedEvent } from '../cloud-event.ts';
import { execute } from '../sql.ts';

/** The part of a topic that the broker still has. */
export interface RetainedTopic {
  /** Everything published since this moment is retained. */
  readonly since: Date;
  /** Bodies of the messages, oldest first. Throws when the topic cannot be read to its end. */
  readonly messages: AsyncIterable<string>;
}

export interface ImportOptions {
  /** CloudEvents source of the system's own events; other events are ignored. */
  readonly source: string;
  readonly topic: RetainedTopic;
  /** Continues although the topic may have lost events already. */
  readonly acceptGap: boolean;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

/** An event that cannot be imported, because its sequence was given to another one. */
export interface SequenceConflict {
  readonly aggregateId: string;
  readonly type: string;
  readonly sequence: number;
}

export interface Imported {
  /** Lower bound of the ids of imported events. */
  readonly since: string;
  /** By event id. */
  readonly conflicts: ReadonlyMap<string, SequenceConflict>;
}

const PAGE = 500;
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
/** A sequence further ahead of its head is not genuine: no aggregate records so many events between two backups. */
const MAX_AHEAD = 1_000_000;

/**
 * Imports the events of an internal topic that the event store lacks and that lie ahead of their aggregate's head, in `em`'s
 * transaction. The heads stay as they are. Channel and requester become `unknown`, because messages do not hold them.
 * @throws Error when the topic may have lost events already and `acceptGap` is false
 */
export async function importEvents(
  em: EntityManager,
  { source, topic, acceptGap, log }: ImportOptions,
): Promise<Imported> {
  if (!acceptGap) await assertReachesBack(em, topic.since);
  let since = LAST_ID;
  let [read, lost] = [0, 0];
  const conflicts = new Map<string, SequenceConflict>();
  for await (const page of pages(topic.messages, source)) {
    const outcomes = await store(em, page);
    for (const { eventId, aggregateId, type, sequence } of page) {
      const outcome = outcomes.get(eventId);
      if (outcome === 'lost') {
        lost += 1;
        if (eventId < since) since = eventId;
      } else if (outcome !== undefined && outcome !== 'behind' && !conflicts.has(eventId)) {
        log.warn({ eventId, aggregateId, type, sequence }, REASONS[outcome]);
        if (outcome === 'conflict') conflicts.set(eventId, { aggregateId, type, sequence });
      }
    }
    read += page.length;
    log.info({ read, lost }, 'importing events');
  }
  return { since, conflicts };
}

const REASONS = {
  conflict: 'cannot import event, its sequence was given to another event: skipping it',
  'too far': 'event has an impossible sequence: skipping it',
} as const;

/** Asserts that the topic retains everything published since the latest moment recorded in the database. */
async function assertReachesBack(em: EntityManager, since: Date): Promise<void> {
  const [row] = await execute<{ latest: Date | null }>(em, LATEST);
  if (row?.latest && since <= new Date(row.latest)) return;
  const state = row?.latest ? `of ${new Date(row.latest).toISOString()}, its latest entry` : 'empty';
  throw new Error(
    `The database is ${state}, and the topic has only events since ${since.toISOString()}: those published between cannot be ` +
      'recovered. Restore the database to a later moment, or set ACCEPT_GAP=true to continue without them',
  );
}

/** Returns the aggregate type in `<aggregate>.<what-happened>`. */
export const aggregateTypeOf = (type: string): string => type.split('.')[0]!;

// Only text that PostgreSQL accepts, because messages may be forged.
const sealed = z.string().regex(/^[\w-]{1,400000}$/);
const internalData = z.object({
  attributes: z.record(z.string().regex(/^\w{1,100}$/), sealed),
  reason: sealed.optional(),
});
const isMoment = (time: string): boolean => Date.parse(time) > 0;

/** Yields pages of the system's own events; within a page, only the first message of each event. */
async function* pages(messages: AsyncIterable<string>, source: string): AsyncGenerator<ReceivedEvent[]> {
  let page = new Map<string, ReceivedEvent>();
  for await (const body of messages) {
    const event = readOwn(body, source);
    if (event && !page.has(event.eventId)) page.set(event.eventId, event);
    if (page.size < PAGE) continue;
    yield [...page.values()];
    page = new Map();
  }
  if (page.size > 0) yield [...page.values()];
}

/** Returns undefined for a message that is not a valid event of the system: any client with access may have published it. */
function readOwn(body: string, source: string): ReceivedEvent | undefined {
  try {
    const event = parseEnvelope(body);
    if (event.source !== source || !isMoment(event.time)) return undefined;
    return { ...event, data: internalData.parse(event.data) };
  } catch {
    return undefined;
  }
}

type Outcome = 'lost' | 'conflict' | 'behind' | 'too far';

/** Stores a page. @returns the outcome of each event that was not stored before */
async function store(em: EntityManager, page: readonly ReceivedEvent[]): Promise<Map<string, Outcome>> {
  const events = page.map(({ eventId, type, aggregateId, sequence, time, traceparent = '', data }) => {
    return { eventId, type, aggregateType: aggregateTypeOf(type), aggregateId, sequence, time, traceparent, ...data };
  });
  const rows = await execute<{ eventId: string; outcome: Outcome }>(em, STORE, [JSON.stringify(events)]);
  return new Map(rows.map(({ eventId, outcome }) => [eventId, outcome]));
}

// Running apps write to these tables several times a minute.
const LATEST = `
select greatest((select max(changed_at) from eventing.stream), (select max(published_at) from eventing.published),
  (select max(heard_at) from eventing.heard where isfinite(heard_at)), (select max(reported_at) from eventing.sidecar)) as latest`;

// If two events of a page claim one sequence, the earlier message wins. An event that is neither stored nor ahead of its
// head was removed by a retention, not lost.
const STORE = `
with message as (
  select m.*, row_number() over (partition by "aggregateId", sequence order by ord) as claim,
      coalesce((select last_sequence from eventing.stream where aggregate_type = "aggregateType" and aggregate_id = "aggregateId"), 0) as head
    from rows from (jsonb_to_recordset(?::jsonb) as ("eventId" uuid, type text, "aggregateType" text, "aggregateId" uuid, sequence bigint,
      time timestamptz, traceparent text, attributes jsonb, reason text)) with ordinality
      as m("eventId", type, "aggregateType", "aggregateId", sequence, time, traceparent, attributes, reason, ord)
), missing as (
  select m.*, case
      when sequence > head + ${MAX_AHEAD} then 'too far'
      when claim > 1 or exists (select from eventing.event_store s where s.aggregate_id = m."aggregateId" and s.sequence = m.sequence) then 'conflict'
      when sequence > head then 'lost'
      else 'behind' end as outcome
    from message m where not exists (select from eventing.event_store s where s.id = m."eventId")
), stored as (
  insert into eventing.event_store
    (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
  select "eventId", "aggregateType", "aggregateId", sequence, type, attributes, reason, 'unknown', 'unknown', traceparent, time
    from missing where outcome = 'lost'
)
select "eventId", outcome from missing`;
