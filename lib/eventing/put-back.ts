import type { MikroORM } from '@mikro-orm/postgresql';
import { z } from 'zod';
import { type ReceivedEvent, readEnvelope } from './cloud-event.ts';
import { array, execute } from './sql.ts';

export interface PutBackOptions {
  /** The CloudEvents source of the system's own events; others are passed over. */
  readonly source: string;
  /** The bodies of all messages that the broker still has of the topic, oldest first. */
  readonly messages: AsyncIterable<string>;
  /** Goes on although the topic may have lost some of them already. */
  readonly acceptGap: boolean;
  readonly tell?: ((progress: Readonly<Record<string, number>>) => void) | undefined;
}

export interface PutBack {
  /** Each fact that was read has this id or a later one. */
  readonly since: string;
  /** Facts that cannot be put back: another one has their sequence. */
  readonly overtaken: readonly ReceivedEvent[];
}

const PAGE = 500;
const LAST_ID = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

/**
 * Stores the facts of an internal topic that the event store lacks, as they were stated: those that lie ahead of their aggregate's head, which
 * stays where it is. Who stated them, and where, the topic does not tell.
 * @throws Error when the topic may have lost some of them already, unless that is accepted
 */
export async function putBack(orm: MikroORM, { source, messages, acceptGap, tell }: PutBackOptions): Promise<PutBack> {
  let reachesBack = acceptGap || (await isEmpty(orm));
  let since = LAST_ID;
  let [read, lost] = [0, 0];
  const overtaken: ReceivedEvent[] = [];
  for await (const page of pages(messages, source)) {
    // Topics are trimmed from their beginning: what the database knows of it was there when it was what it is now.
    reachesBack ||= await isStored(orm, page[0]!);
    if (!reachesBack) break;
    const outcomes = await store(orm, page);
    for (const event of page) {
      if (event.eventId < since) since = event.eventId;
      if (outcomes.get(event.eventId) === 'overtaken') overtaken.push(event);
      if (outcomes.get(event.eventId) === 'lost') lost += 1;
    }
    read += page.length;
    tell?.({ read, lost });
  }
  if (!reachesBack) throw new Error(TOO_SHORT);
  return { since, overtaken };
}

const TOO_SHORT =
  'The topic does not reach back to the moment that the database was restored to: some of what was published since cannot be had any more. ' +
  'Restore the database to a later moment, or accept that (ACCEPT_GAP=true): what is missing between facts is filled, and what else was lost is not known';

/** The name of the aggregate in `<aggregate>.<what-happened>`. */
export const aggregateTypeOf = (type: string): string => type.split('.')[0]!;

const internalData = z.object({ attributes: z.record(z.string(), z.string()), reason: z.string().optional() });

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
    if (event.source !== source) return undefined;
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

async function isEmpty(orm: MikroORM): Promise<boolean> {
  return (await execute(orm.em.fork(), 'select from eventing.event_store limit 1')).length === 0;
}

async function isStored(orm: MikroORM, { eventId }: ReceivedEvent): Promise<boolean> {
  const rows = await execute(orm.em.fork(), 'select from eventing.event_store where id = any(?::uuid[])', [
    array([eventId]),
  ]);
  return rows.length > 0;
}

type Outcome = 'lost' | 'overtaken' | 'behind';

/** @returns what became of those that were not stored yet */
async function store(orm: MikroORM, page: readonly ReceivedEvent[]): Promise<Map<string, Outcome>> {
  const facts = page.map(({ eventId, type, aggregateId, sequence, time, traceparent = '', data }) => {
    return { eventId, type, aggregateType: aggregateTypeOf(type), aggregateId, sequence, time, traceparent, ...data };
  });
  const rows = await execute<{ eventId: string; outcome: Outcome }>(orm.em.fork(), STORE, [JSON.stringify(facts)]);
  return new Map(rows.map(({ eventId, outcome }) => [eventId, outcome]));
}

// Of two that claim one sequence in one page the earlier message has it. What is not ahead of its head and not there either was given up by
// whoever set a retention: it was not lost.
const STORE = `
with message as (
  select m.*, row_number() over (partition by "aggregateId", sequence order by ord) as claim
    from rows from (jsonb_to_recordset(?::jsonb) as ("eventId" uuid, type text, "aggregateType" text, "aggregateId" uuid, sequence bigint,
      time timestamptz, traceparent text, attributes jsonb, reason text)) with ordinality
      as m("eventId", type, "aggregateType", "aggregateId", sequence, time, traceparent, attributes, reason, ord)
), missing as (
  select m.*, case
      when claim > 1 or exists (select from eventing.event_store s where s.aggregate_id = m."aggregateId" and s.sequence = m.sequence) then 'overtaken'
      when sequence > coalesce((select last_sequence from eventing.stream where aggregate_type = "aggregateType" and aggregate_id = "aggregateId"), 0) then 'lost'
      else 'behind' end as outcome
    from message m where not exists (select from eventing.event_store s where s.id = m."eventId")
), stored as (
  insert into eventing.event_store
    (id, aggregate_type, aggregate_id, sequence, event_type, attributes, reason, event_channel, requested_by, traceparent, created_at)
  select "eventId", "aggregateType", "aggregateId", sequence, type, attributes, reason, 'unknown', 'unknown', traceparent, time
    from missing where outcome = 'lost'
)
select "eventId", outcome from missing`;
