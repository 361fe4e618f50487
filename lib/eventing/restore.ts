import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { CANARY_ID } from './canary.ts';
import { type System, sourceOf } from './cloud-event.ts';
import type { EventConstructor, EventDefinition } from './domain-event.ts';
import { FACT, type FactRow, factOf, type LostFact } from './lost-fact.ts';
import { type Behind, moveHeads } from './move-heads.ts';
import { aggregateTypeOf, type KeptTopic, type Overtaken, putBack } from './put-back.ts';
import { databaseOutage, execute } from './sql.ts';

export type { LostFact } from './lost-fact.ts';

type Event = Pick<EventConstructor<EventDefinition>, 'type' | 'erases'>;

export interface RestoreOptions {
  readonly orm: MikroORM;
  readonly system: System;
  /** The system's internal topic, as far as the broker still has it. */
  readonly topic: KeptTopic;
  /** Goes on although some of what was published cannot be had any more. */
  readonly acceptGap?: boolean;
  /** The system's events; `restored`, which has no attributes, says of an aggregate that it was restored. */
  readonly events: Readonly<Record<string, Event>> & { readonly restored: Event };
  /**
   * Does again to the state what a lost fact says, as far as it says it, without stating it again.
   * @param isOver whether the aggregate's last fact is among those that were lost
   */
  recall(em: EntityManager, fact: LostFact, isOver: boolean): Promise<void>;
  /** Ends an aggregate now, and states that: its last fact was lost, and something else was stated in its place. */
  end(em: EntityManager, aggregateId: string): Promise<void>;
  /** What is left to do when all has been recalled; facts may be stated. */
  finish?(em: EntityManager): Promise<void>;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface Restored {
  /** Facts that the database had lost and has again. */
  readonly putBack: number;
  /** Of these, facts that could not be done again; each is told. */
  readonly notRecalled: number;
  /** Facts that were lost for good, since their sequence has been given to others: something was at work between restoring and this. */
  readonly overtaken: number;
  /** Sequences whose facts neither the database nor the topic has. */
  readonly gaps: number;
  /** Those that one or more of these are about. */
  readonly aggregates: number;
}

const PAGE = 500;

/**
 * Puts a system right whose database was restored to an earlier time than its events have come to. To be called while nothing else of
 * the system is at work.
 *
 * What was published since is still at the broker: those facts are put back under their own ids and sequences, so that no sequence is
 * given twice, and published again for whoever has lost them as well. Each aggregate that got something back states that it was
 * restored: whoever keeps a copy of its state asks again. Then the effects are recalled.
 *
 * It is one transaction, during which nobody else can state anything. Done again it finds nothing to do.
 *
 * @throws Error when some of what was published cannot be had any more, unless that is accepted; when others are at work
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { orm, system, topic, acceptGap = false, events, log } = options;
  const erasing: string[] = Object.values(events).flatMap(({ type, erases }) => (erases ? [type] : []));
  return orm.em.fork().transactional(async (em) => {
    // Nobody waits for it, and there may be much to look through.
    await execute(em, 'set local statement_timeout = 0');
    await keepOthersOut(em);
    const back = await putBack(em, { source: sourceOf(system), topic, acceptGap, log });
    // Of this moment: what is looked through below is what lies ahead of the heads now.
    await execute(em, DECLARE_LOST, [back.since]);
    const behind = await execute<Behind>(em, BEHIND, [back.since]);
    const all = [...behind, ...(await unanswered(em, back.overtaken, behind))];
    const { gaps, over } = await moveHeads(em, all, { system, restoredType: events.restored.type, erasing, acceptGap });
    const recalled = await recallAll(em, { over, erasing }, options);
    for (const { aggregateId, type } of back.overtaken.values())
      if (erasing.includes(type)) await options.end(em, aggregateId);
    await options.finish?.(em);
    return { ...recalled, overtaken: back.overtaken.size, gaps, aggregates: all.length };
  });
}

/** Whoever stated something meanwhile might give a sequence that a lost fact has. */
async function keepOthersOut(em: EntityManager): Promise<void> {
  const others = await execute<{ name: string; count: number }>(em, OTHERS);
  const busy = await execute(em, 'lock table eventing.stream in share row exclusive mode nowait').catch(
    (error) => error,
  );
  if (others.length === 0 && !Error.isError(busy)) return;
  const who = others.map(({ name, count }) => `${name || 'somebody'} (${count} connections)`).join(', ');
  throw new Error(
    `Others are at work in the database${who && `: ${who}`}. Stop all programs of the system first, and have a pooler give up its connections`,
    Error.isError(busy) ? { cause: busy } : {},
  );
}

/** Aggregates that have got nothing back, since something else stands in its place, and have not said so yet. */
async function unanswered(
  em: EntityManager,
  overtaken: ReadonlyMap<string, Overtaken>,
  behind: readonly Behind[],
): Promise<Behind[]> {
  const known = new Set(behind.map(({ id }) => id));
  const latest = new Map<string, Overtaken>();
  for (const fact of overtaken.values())
    if (!known.has(fact.aggregateId) && fact.sequence > (latest.get(fact.aggregateId)?.sequence ?? 0))
      latest.set(fact.aggregateId, fact);
  const asked = [...latest.values()].map(({ aggregateId, type, sequence }) => {
    return { type: aggregateTypeOf(type), id: aggregateId, sequence };
  });
  return execute<Behind>(em, UNANSWERED, [JSON.stringify(asked)]);
}

/** Each lost fact, an aggregate's in sequence, and what one aggregate had to give up before another could have it before that. */
async function recallAll(
  em: EntityManager,
  { over, erasing }: { over: ReadonlySet<string>; erasing: readonly string[] },
  { recall, end, log }: RestoreOptions,
): Promise<{ putBack: number; notRecalled: number }> {
  let [putBack, notRecalled] = [0, 0];
  for (;;) {
    const facts = (await execute<FactRow>(em, `fetch ${PAGE} from lost`)).map(factOf);
    for (const fact of facts) {
      // Canaries are about nobody.
      if (fact.aggregateId === CANARY_ID) continue;
      const { eventId, aggregateId, type } = fact;
      try {
        await em.transactional((tx) => recall(tx, fact, over.has(aggregateId)), { clear: true });
      } catch (error) {
        if (databaseOutage(error as Error)) throw error;
        notRecalled += 1;
        log.warn(
          { eventId, aggregateId, type, err: error },
          'cannot be done again: the fact is there, its effect is not',
        );
        // What was to be erased must not stay, whatever is the matter with the fact that says so.
        if (erasing.includes(type)) await end(em, aggregateId);
      }
      em.clear();
    }
    putBack += facts.length;
    if (facts.length > 0) log.info({ recalled: putBack }, 'restoring');
    if (facts.length < PAGE) return { putBack, notRecalled };
  }
}

const OTHERS = `
select application_name as name, count(*)::int as count from pg_stat_activity
 where datname = current_database() and usename = current_user and application_name <> current_setting('application_name')
 group by 1 order by 1`;

// What lies ahead of its aggregate's head has just been put back.
const AHEAD = `
eventing.event_store f left join eventing.stream s on s.aggregate_type = f.aggregate_type and s.aggregate_id = f.aggregate_id
 where f.id >= ? and f.sequence > coalesce(s.last_sequence, 0)`;

const BEHIND = `
select distinct f.aggregate_type as type, f.aggregate_id as id, coalesce(s.last_sequence, 0)::float8 as head from ${AHEAD} order by 2`;

// Ids grow with the time of whoever stated them, and machines' clocks differ: within an aggregate the sequence is right.
const DECLARE_LOST = `
declare lost no scroll cursor for
select ${FACT} from ${AHEAD}
 order by max(f.id::text) over (partition by f.aggregate_id order by f.sequence), f.aggregate_id, f.sequence`;

// One that has had something put back beyond it, or has stated since that it was restored, has told everybody.
const UNANSWERED = `
select a.type, a.id, s.last_sequence::float8 as head from jsonb_to_recordset(?::jsonb) as a(type text, id uuid, sequence bigint)
  join eventing.stream s on s.aggregate_type = a.type and s.aggregate_id = a.id
 where not exists (select from eventing.event_store f
                    where f.aggregate_id = a.id and f.sequence > a.sequence and f.event_channel in ('restore', 'unknown'))
 order by a.id`;
