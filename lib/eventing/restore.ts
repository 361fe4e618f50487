import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { CANARY_ID } from './canary.ts';
import { EVERYBODY, type InternalData, messageOf, type System, sourceOf, topicOf } from './cloud-event.ts';
import type { EventConstructor, EventDefinition } from './domain-event.ts';
import { enqueue } from './outbox.ts';
import { provenance } from './provenance.ts';
import { aggregateTypeOf, type PutBack, putBack } from './put-back.ts';
import { execute } from './sql.ts';

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

export interface RestoreOptions {
  readonly orm: MikroORM;
  readonly system: System;
  /** The bodies of all messages that the broker still has of the system's internal topic, oldest first. */
  readonly messages: AsyncIterable<string>;
  /** Goes on although the topic does not reach back to the moment that the database was restored to. */
  readonly acceptGap?: boolean;
  /** The system's events; `restored`, which has no attributes, says of an aggregate that it was restored. */
  readonly events: Readonly<Record<string, Event>> & { readonly restored: Event };
  /** Does again to the state what a lost fact says, as far as it says it, without stating it again. */
  recall(em: EntityManager, fact: LostFact): Promise<void>;
  /** What is left to do when all has been recalled; facts may be stated. */
  finish?(em: EntityManager): Promise<void>;
  /** Hears how far it has come. */
  readonly tell?: (progress: Readonly<Record<string, number>>) => void;
}

type Event = Pick<EventConstructor<EventDefinition>, 'type' | 'erases'>;

export interface Restored {
  /** Facts that the database had lost and has again. */
  readonly putBack: number;
  /** Facts that were lost for good, since their sequence has been given to others: something was at work between restoring and this. */
  readonly overtaken: number;
  /** Sequences whose facts neither the database nor the topic has. */
  readonly gaps: number;
  /** Those that one or more of these are about. */
  readonly aggregates: number;
}

const PAGE = 500;
/** More are no gap, but a sequence that nobody has given. */
const MOST_GAPS = 100_000;

/**
 * Puts a system right whose database was restored to an earlier time than its events have come to. To be called while nothing else of
 * the system is at work.
 *
 * What was published since is still at the broker: those facts are put back under their own ids and sequences, so that no sequence is
 * given twice, published again for whoever has lost them as well, and their effects recalled. Then each aggregate states that it
 * was restored: whoever keeps a copy of its state asks again. Sequences that nobody knows a fact of are filled with the same fact.
 *
 * Begun again after it broke off it goes on, and once done it finds nothing to do.
 *
 * @throws Error when the topic does not reach back far enough, or others are at work
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { orm, system, messages, acceptGap = false, tell } = options;
  await refuseOthersAtWork(orm.em.fork());
  const back = await putBack(orm, { source: sourceOf(system), messages, acceptGap, tell });
  return orm.em.fork().transactional(async (em) => {
    // Nobody waits for it, and there may be much to look through.
    await execute(em, 'set local statement_timeout = 0');
    let recalled = 0;
    for await (const fact of lostFacts(em, back.since)) {
      // Canaries are about nobody.
      if (fact.aggregateId !== CANARY_ID) await options.recall(em, fact);
      await em.flush();
      em.clear();
      recalled += 1;
      if (recalled % PAGE === 0) tell?.({ recalled });
    }
    const behind = await execute<Behind>(em, BEHIND, [back.since]);
    const aggregates = [...behind, ...(await unanswered(em, back, behind, options.events.restored.type))];
    let gaps = 0;
    for (const aggregate of aggregates) gaps += await catchUp(em, aggregate, options);
    await options.finish?.(em);
    return { putBack: recalled, overtaken: back.overtaken.length, gaps, aggregates: aggregates.length };
  });
}

/** A sequence that is given meanwhile could be one that a lost fact has. */
async function refuseOthersAtWork(em: EntityManager): Promise<void> {
  const others = await execute<{ name: string; count: number }>(em, OTHERS);
  if (others.length === 0) return;
  const who = others.map(({ name, count }) => `${name || 'somebody'} (${count} connections)`).join(', ');
  throw new Error(`Others are at work in the database: ${who}. Stop all programs of the system first`);
}

/** In the order in which they were stated: what one aggregate has to give up before another can have it is given up before. */
async function* lostFacts(em: EntityManager, since: string): AsyncGenerator<LostFact> {
  for (let after = FIRST_ID; ; ) {
    const page = await execute<FactRow>(em, LOST, [since, after, PAGE]);
    yield* page.map(factOf);
    if (page.length < PAGE) return;
    after = page.at(-1)!.eventId;
  }
}

interface Behind {
  readonly type: string;
  readonly id: string;
  readonly head: number;
}

/** Aggregates that have got nothing back, since something else stands in its place, and have not said so yet. */
async function unanswered(
  em: EntityManager,
  { overtaken }: PutBack,
  behind: readonly Behind[],
  restoredType: string,
): Promise<Behind[]> {
  const latest = new Map<string, { type: string; sequence: number }>();
  for (const { aggregateId, type, sequence } of overtaken) {
    const known = latest.get(aggregateId)?.sequence ?? 0;
    latest.set(aggregateId, { type: aggregateTypeOf(type), sequence: Math.max(known, sequence) });
  }
  const rows: Behind[] = [];
  for (const [id, { type, sequence }] of [...latest].sort()) {
    if (behind.some((it) => it.id === id)) continue;
    rows.push(...(await execute<Behind>(em, UNANSWERED, [type, id, id, restoredType, sequence])));
  }
  return rows;
}

/**
 * Moves the head of an aggregate past what it has got back, says all that again, fills what is missing in between, and states that it was
 * restored; unless it has stated its last fact, which says more. @returns how many were missing
 */
async function catchUp(
  em: EntityManager,
  { type, id, head }: Behind,
  { system, events }: RestoreOptions,
): Promise<number> {
  const lost = (await execute<FactRow>(em, OF_AGGREGATE, [id, head])).map(factOf);
  const latest = lost.at(-1);
  const last = latest?.sequence ?? head;
  if (last - head - lost.length > MOST_GAPS)
    throw new Error(`${id} has a fact with the sequence ${last}, and the one before it is ${head}: that is no gap`);
  const isOver = Object.values(events).some(({ type, erases }) => erases && type === latest?.type);
  const end = isOver ? last : last + 1;
  const facts = new Map(lost.map((fact) => [fact.sequence, fact]));
  const stated: LostFact[] = [];
  for (let sequence = head + 1; sequence <= end; sequence++)
    if (!facts.has(sequence)) stated.push(newFact(id, sequence, events.restored.type));
  for (const fact of stated) facts.set(fact.sequence, fact);
  await execute(em, STATE, [type, provenance().requestedBy, JSON.stringify(stated)]);
  await execute(em, MOVE_HEAD, [type, id, end]);
  for (const fact of [...facts.values()].sort((a, b) => a.sequence - b.sequence)) {
    const message = messageOf({ ...fact, source: sourceOf(system) }, { target: EVERYBODY, data: fact.data });
    await enqueue(em, 'internal', topicOf(system, 'internal'), message);
  }
  return last - head - lost.length;
}

function newFact(aggregateId: string, sequence: number, type: string): LostFact {
  const { traceparent } = provenance();
  const time = new Date().toISOString();
  return { eventId: uuid(), type, aggregateId, sequence, time, traceparent, data: { attributes: {} } };
}

interface FactRow extends Omit<LostFact, 'data' | 'time'> {
  readonly time: Date;
  readonly attributes: Record<string, string>;
  readonly reason: string | null;
}

function factOf({ attributes, reason, time, ...fact }: FactRow): LostFact {
  return { ...fact, time: new Date(time).toISOString(), data: { attributes, ...(reason && { reason }) } };
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000';

const OTHERS = `
select application_name as name, count(*)::int as count from pg_stat_activity
 where datname = current_database() and usename = current_user and application_name <> current_setting('application_name')
 group by 1 order by 1`;

const FACT = `
f.id as "eventId", f.event_type as type, f.aggregate_id as "aggregateId", f.sequence::float8 as sequence, f.created_at as time, f.traceparent,
  f.attributes, f.reason`;

// What lies ahead of its aggregate's head has been put back, and is not dealt with yet.
const AHEAD = `
eventing.event_store f left join eventing.stream s on s.aggregate_type = f.aggregate_type and s.aggregate_id = f.aggregate_id
 where f.id >= ? and f.sequence > coalesce(s.last_sequence, 0)`;

const LOST = `select ${FACT} from ${AHEAD} and f.id > ? order by f.id limit ?`;

const BEHIND = `
select distinct f.aggregate_type as type, f.aggregate_id as id, coalesce(s.last_sequence, 0)::float8 as head from ${AHEAD} order by 2`;

const OF_AGGREGATE = `select ${FACT} from eventing.event_store f where aggregate_id = ? and sequence > ? order by sequence`;

const UNANSWERED = `
select aggregate_type as type, aggregate_id as id, last_sequence::float8 as head from eventing.stream
 where aggregate_type = ? and aggregate_id = ?
   and not exists (select from eventing.event_store where aggregate_id = ? and event_type = ? and sequence > ?)`;

const STATE = `
insert into eventing.event_store
  (id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent, created_at)
select "eventId", ?, "aggregateId", sequence, type, '{}', 'restore', ?, traceparent, time
  from jsonb_to_recordset(?::jsonb) as f("eventId" uuid, "aggregateId" uuid, sequence bigint, type text, traceparent text, time timestamptz)`;

const MOVE_HEAD = `
insert into eventing.stream (aggregate_type, aggregate_id, last_sequence) values (?, ?, ?)
  on conflict (aggregate_type, aggregate_id) do update set last_sequence = excluded.last_sequence, changed_at = clock_timestamp()`;
