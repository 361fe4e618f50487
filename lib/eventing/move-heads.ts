import type { EntityManager } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import { EVERYBODY, messageOf, type System, sourceOf, topicOf } from './cloud-event.ts';
import { FACT, type FactRow, factOf, type LostFact } from './lost-fact.ts';
import { enqueueAll } from './outbox.ts';
import { provenance } from './provenance.ts';
import { array, execute } from './sql.ts';

/** An aggregate with facts ahead of its head, or which has to say that it was restored. */
export interface Behind {
  readonly type: string;
  readonly id: string;
  readonly head: number;
}

export interface MoveHeadsOptions {
  readonly system: System;
  /** The event that says that an aggregate was restored; it has no attributes. */
  readonly restoredType: string;
  /** Events that are an aggregate's last. */
  readonly erasing: readonly string[];
  /** Whether sequences of which there is no fact are filled. */
  readonly acceptGap: boolean;
}

/** Aggregates dealt with at once. */
const PAGE = 200;

/**
 * Moves heads past what lies ahead of them, has all that published again, and has each aggregate state that it was restored; unless it has
 * got its last fact back, which says more. A sequence of which there is no fact is filled with the same: somebody may wait for it.
 * @returns how many were filled, and which aggregates got their last fact back
 * @throws Error when there are any to fill and that is not accepted
 */
export async function moveHeads(
  em: EntityManager,
  aggregates: readonly Behind[],
  { system, restoredType, erasing, acceptGap }: MoveHeadsOptions,
): Promise<{ gaps: number; over: ReadonlySet<string> }> {
  const over = new Set<string>();
  let gaps = 0;
  for (let from = 0; from < aggregates.length; from += PAGE) {
    const page = aggregates.slice(from, from + PAGE);
    const lost = await factsAhead(em, page);
    const moves = page.map((aggregate) => move(aggregate, lost.get(aggregate.id) ?? [], { restoredType, erasing }));
    for (const { id, isOver, missing } of moves) {
      if (isOver) over.add(id);
      gaps += missing;
    }
    if (gaps > 0 && !acceptGap) throw new Error(gapIn(moves.find(({ missing }) => missing > 0)!.id));
    const stated = moves.flatMap(({ type, stated }) => stated.map((fact) => ({ ...fact, aggregateType: type })));
    await execute(em, STATE, [provenance().requestedBy, JSON.stringify(stated)]);
    await execute(em, MOVE, [JSON.stringify(moves.map(({ type, id, head }) => ({ type, id, head })))]);
    const source = sourceOf(system);
    const messages = moves.flatMap(({ all }) =>
      all.map((fact) => messageOf({ ...fact, source }, { target: EVERYBODY, data: fact.data })),
    );
    await enqueueAll(em, 'internal', topicOf(system, 'internal'), messages);
  }
  return { gaps, over };
}

interface Move extends Behind {
  readonly isOver: boolean;
  readonly missing: number;
  /** What is stated now. */
  readonly stated: readonly LostFact[];
  /** That and what was lost, in sequence. */
  readonly all: readonly LostFact[];
}

function move(
  { type, id, head }: Behind,
  lost: readonly LostFact[],
  { restoredType, erasing }: Pick<MoveHeadsOptions, 'restoredType' | 'erasing'>,
): Move {
  const last = lost.at(-1)?.sequence ?? head;
  const isOver = lost.length > 0 && erasing.includes(lost.at(-1)!.type);
  const end = isOver ? last : last + 1;
  const facts = new Map(lost.map((fact) => [fact.sequence, fact]));
  const stated: LostFact[] = [];
  for (let sequence = head + 1; sequence <= end; sequence++)
    if (!facts.has(sequence)) stated.push(newFact(id, sequence, restoredType));
  const all = [...lost, ...stated].sort((a, b) => a.sequence - b.sequence);
  return { type, id, head: end, isOver, missing: last - head - lost.length, stated, all };
}

async function factsAhead(em: EntityManager, page: readonly Behind[]): Promise<Map<string, LostFact[]>> {
  const facts = new Map<string, LostFact[]>(page.map(({ id }) => [id, []]));
  const rows = await execute<FactRow>(em, AHEAD, [array(page.map(({ id }) => id))]);
  for (const fact of rows.map(factOf)) facts.get(fact.aggregateId)!.push(fact);
  return facts;
}

function newFact(aggregateId: string, sequence: number, type: string): LostFact {
  const { traceparent } = provenance();
  const time = new Date().toISOString();
  return { eventId: uuid(), type, aggregateId, sequence, time, traceparent, data: { attributes: {} } };
}

const gapIn = (id: string): string =>
  `The topic lacks facts of ${id} that were published: they cannot be had any more. Restore the database to a later moment, or accept ` +
  'that (ACCEPT_GAP=true): their places are filled';

const AHEAD = `
select ${FACT} from eventing.event_store f left join eventing.stream s on s.aggregate_type = f.aggregate_type and s.aggregate_id = f.aggregate_id
 where f.aggregate_id = any(?::uuid[]) and f.sequence > coalesce(s.last_sequence, 0) order by f.aggregate_id, f.sequence`;

const STATE = `
insert into eventing.event_store
  (id, aggregate_type, aggregate_id, sequence, event_type, attributes, event_channel, requested_by, traceparent, created_at)
select "eventId", "aggregateType", "aggregateId", sequence, type, '{}', 'restore', ?, traceparent, time
  from jsonb_to_recordset(?::jsonb) as f("eventId" uuid, "aggregateType" text, "aggregateId" uuid, sequence bigint, type text, traceparent text,
    time timestamptz)`;

const MOVE = `
insert into eventing.stream as s (aggregate_type, aggregate_id, last_sequence)
select type, id, head from jsonb_to_recordset(?::jsonb) as m(type text, id uuid, head bigint) order by 1, 2
  on conflict (aggregate_type, aggregate_id) do update set last_sequence = excluded.last_sequence, changed_at = clock_timestamp()`;
