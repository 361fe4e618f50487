import type { EntityManager } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { type ReceivedEvent, readEnvelope } from './cloud-event.ts';
import { execute } from './sql.ts';

/** What a broker still has of a topic. */
export interface KeptTopic {
  /** Whatever was published there since this moment, it has. */
  readonly since: Date;
  /** The bodies of its messages, oldest first; throws when it cannot be read to its end. */
  readonly messages: AsyncIterable<string>;
}

export interface PutBackOptions {
  /** The CloudEvents source of the system's own events; others are passed over. */
  readonly source: string;
  readonly topic: KeptTopic;
  /** Goes on although the topic may have lost some of them already. */
  readonly acceptGap: boolean;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

/** A fact that cannot be put back: another one has its sequence. */
export interface Overtaken {
  readonly aggregateId: string;
  readonly type: string;
  readonly sequence: number;
}

export interface PutBack {
  /** Each fact that was put back has this id or a later one. */
  readonly since: string;
  /** By the fact's id. */
  readonly overtaken: ReadonlyMap<string, Overtaken>;
}

const PAGE = 500;
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';
/** What no head can be behind: more than an aggregate states between two backups. */
const FARTHEST = 1_000_000;

/**
 * Stores the facts of an internal topic that the event store lacks, as they were stated: those that lie ahead of their aggregate's head, which
 * stays where it is. Who stated them, and where, the topic does not tell. In `em`'s transaction.
 * @throws Error when the topic may have lost some of them already, unless that is accepted
 */
export async function putBack(em: EntityManager, { source, topic, acceptGap, log }: PutBackOptions): Promise<PutBack> {
  if (!acceptGap) await mustReachBack(em, topic.since);
  let since = LAST_ID;
  let [read, lost] = [0, 0];
  const overtaken = new Map<string, Overtaken>();
  for await (const page of pages(topic.messages, source)) {
    const outcomes = await store(em, page);
    for (const { eventId, aggregateId, type, sequence } of page) {
      const outcome = outcomes.get(eventId);
      if (outcome === 'lost') {
        lost += 1;
        if (eventId < since) since = eventId;
      } else if (outcome !== undefined && outcome !== 'behind' && !overtaken.has(eventId)) {
        log.warn({ eventId, aggregateId, type, sequence }, SENTENCES[outcome]);
        if (outcome === 'overtaken') overtaken.set(eventId, { aggregateId, type, sequence });
      }
    }
    read += page.length;
    log.info({ read, lost }, 'restoring');
  }
  return { since, overtaken };
}

const SENTENCES = {
  overtaken: 'was lost for good: its sequence has been given to another fact',
  'too far': 'has a sequence that nobody can have given: it is passed over',
} as const;

/** Something was in the database still at its latest moment; what was published since then must be in the topic. */
async function mustReachBack(em: EntityManager, since: Date): Promise<void> {
  const [row] = await execute<{ latest: Date | null }>(em, LATEST);
  if (row?.latest && since <= new Date(row.latest)) return;
  const moment = row?.latest ? `from ${new Date(row.latest).toISOString()}, its latest moment` : 'empty';
  throw new Error(
    `The database is ${moment}, and the topic has only what was published since ${since.toISOString()}: what was published between cannot be ` +
      'had any more. Restore the database to a later moment, or accept that (ACCEPT_GAP=true)',
  );
}

/** The name of the aggregate in `<aggregate>.<what-happened>`. */
export const aggregateTypeOf = (type: string): string => type.split('.')[0]!;

// Nothing that PostgreSQL does not take, wherever it comes from.
const sealed = z.string().regex(/^[\w-]{1,400000}$/);
const internalData = z.object({
  attributes: z.record(z.string().regex(/^\w{1,100}$/), sealed),
  reason: sealed.optional(),
});
const isMoment = (time: string): boolean => Date.parse(time) > 0;

/** The system's own events among the messages, a page at a time; of each fact only the first message of a page. */
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

/** Whoever may publish may publish anything; what is no event of ours is none of our facts. */
function readOwn(body: string, source: string): ReceivedEvent | undefined {
  try {
    const event = readEnvelope(JSON.parse(body));
    if (event.source !== source || !isMoment(event.time)) return undefined;
    return {
      ...event,
      eventId: event.eventId.toLowerCase(),
      aggregateId: event.aggregateId.toLowerCase(),
      data: internalData.parse(event.data),
    };
  } catch {
    return undefined;
  }
}

type Outcome = 'lost' | 'overtaken' | 'behind' | 'too far';

/** @returns what became of those that were not stored yet */
async function store(em: EntityManager, page: readonly ReceivedEvent[]): Promise<Map<string, Outcome>> {
  const facts = page.map(({ eventId, type, aggregateId, sequence, time, traceparent = '', data }) => {
    return { eventId, type, aggregateType: aggregateTypeOf(type), aggregateId, sequence, time, traceparent, ...data };
  });
  const rows = await execute<{ eventId: string; outcome: Outcome }>(em, STORE, [JSON.stringify(facts)]);
  return new Map(rows.map(({ eventId, outcome }) => [eventId, outcome]));
}

// Apps report several times a minute while they run.
const LATEST = `
select greatest((select max(changed_at) from eventing.stream), (select max(published_at) from eventing.published),
  (select max(heard_at) from eventing.heard where isfinite(heard_at)), (select max(reported_at) from eventing.sidecar)) as latest`;

// Of two that claim one sequence in one page the earlier message has it. What is not ahead of its head and not there either was given up by
// whoever set a retention: it was not lost.
const STORE = `
with message as (
  select m.*, row_number() over (partition by "aggregateId", sequence order by ord) as claim,
      coalesce((select last_sequence from eventing.stream where aggregate_type = "aggregateType" and aggregate_id = "aggregateId"), 0) as head
    from rows from (jsonb_to_recordset(?::jsonb) as ("eventId" uuid, type text, "aggregateType" text, "aggregateId" uuid, sequence bigint,
      time timestamptz, traceparent text, attributes jsonb, reason text)) with ordinality
      as m("eventId", type, "aggregateType", "aggregateId", sequence, time, traceparent, attributes, reason, ord)
), missing as (
  select m.*, case
      when sequence > head + ${FARTHEST} then 'too far'
      when claim > 1 or exists (select from eventing.event_store s where s.aggregate_id = m."aggregateId" and s.sequence = m.sequence) then 'overtaken'
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
