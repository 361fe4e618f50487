import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { type System, sourceOf } from '../cloud-event.ts';
import { databaseFault } from '../database-faults.ts';
import { CANARY_ID } from '../diagnostics/canary.ts';
import { execute } from '../sql.ts';
import type { EventConstructor, EventDefinition } from '../store/domain-event.ts';
import { EVENT_COLUMNS, type EventRow, eventOf, type StoredEvent } from '../store/stored-event.ts';
import { advanceHeads, type StaleHead } from './advance-heads.ts';
import { aggregateTypeOf, importEvents, type RetainedTopic, type SequenceConflict } from './import-events.ts';

export type { StoredEvent } from '../store/stored-event.ts';

type Event = Pick<EventConstructor<EventDefinition>, 'type' | 'erases'>;

export interface RestoreOptions {
  readonly orm: MikroORM;
  readonly system: System;
  /** The system's internal topic, as far as the broker retains it. */
  readonly topic: RetainedTopic;
  /** Continues although some published events cannot be recovered (default false). */
  readonly acceptGap?: boolean;
  /** The system's events. `restored`, without attributes, records that an aggregate was restored. */
  readonly events: Readonly<Record<string, Event>> & { readonly restored: Event };
  /**
   * Applies a recovered event to the state, as far as it holds the values, without raising an event.
   * @param isOver whether the aggregate's last event is among the recovered ones
   */
  replay(em: EntityManager, event: StoredEvent, isOver: boolean): Promise<void>;
  /** Ends an aggregate and raises its last event, because the lost one cannot be imported or replayed. */
  end(em: EntityManager, aggregateId: string): Promise<void>;
  /** Runs after all events are replayed; it may raise events. */
  finish?(em: EntityManager): Promise<void>;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
}

export interface Restored {
  /** Lost events that were imported. */
  readonly imported: number;
  /** Imported events that could not be replayed; each is logged. */
  readonly notReplayed: number;
  /**
   * Events lost permanently: their sequence was given to others, because programs ran between restoring the database
   * and this.
   */
  readonly conflicts: number;
  /** Sequences of which neither the database nor the topic has the event. */
  readonly gaps: number;
  /** Aggregates affected by any of these. */
  readonly aggregates: number;
}

const PAGE = 500;

/**
 * Repairs a system whose database was restored to an earlier time than its published events. Stop all other programs of the
 * system first.
 *
 * 1. Imports lost events from the broker under their own ids and sequences, so that no sequence is given twice.
 * 2. Republishes them for subscribers that lost them as well, and records `restored` for each affected aggregate, so that
 *    systems with a copy of its state read it again.
 * 3. Replays their effects.
 *
 * All in one transaction, during which no other program can record events. A second run finds nothing to do.
 *
 * @throws Error when published events cannot be recovered and `acceptGap` is false; when other programs are connected
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { orm, system, topic, acceptGap = false, events, log } = options;
  const erasing: string[] = Object.values(events).flatMap(({ type, erases }) => (erases ? [type] : []));
  return orm.em.fork().transactional(async (em) => {
    // No caller waits for this, and there may be many events to read.
    await execute(em, 'set local statement_timeout = 0');
    await excludeOthers(em);
    const { since, conflicts } = await importEvents(em, { source: sourceOf(system), topic, acceptGap, log });
    // Declared before the heads advance, so that this SQL cursor still selects the events ahead of them.
    await execute(em, DECLARE_LOST, [since]);
    const stale = await execute<StaleHead>(em, STALE_HEADS, [since]);
    const all = [...stale, ...(await conflictingHeads(em, conflicts, stale))];
    const { gaps, over } = await advanceHeads(em, all, {
      system,
      restoredType: events.restored.type,
      erasing,
      acceptGap,
    });
    const replayed = await replayAll(em, { over, erasing }, options);
    for (const { aggregateId, type } of conflicts.values())
      if (erasing.includes(type)) await options.end(em, aggregateId);
    await options.finish?.(em);
    return { ...replayed, conflicts: conflicts.size, gaps, aggregates: all.length };
  });
}

/**
 * Blocks recording by other programs, which could reuse the sequence of a lost event.
 * @throws Error when other programs are connected or hold the lock
 */
async function excludeOthers(em: EntityManager): Promise<void> {
  const others = await execute<{ name: string; count: number }>(em, OTHERS);
  const lock = await execute(em, 'lock table eventing.stream in share row exclusive mode nowait').catch(
    (error) => error,
  );
  if (others.length === 0 && !Error.isError(lock)) return;
  const list = others.map(({ name, count }) => `${name || 'unnamed program'} (${count} connections)`).join(', ');
  throw new Error(
    `Other programs use the database${list && `: ${list}`}. Stop all programs of the system, and let a pooler close its connections`,
    Error.isError(lock) ? { cause: lock } : {},
  );
}

/** Returns the heads of aggregates that have conflicts only, and have not recorded since that they were restored. */
async function conflictingHeads(
  em: EntityManager,
  conflicts: ReadonlyMap<string, SequenceConflict>,
  stale: readonly StaleHead[],
): Promise<StaleHead[]> {
  const included = new Set(stale.map(({ id }) => id));
  const latest = new Map<string, SequenceConflict>();
  for (const conflict of conflicts.values())
    if (!included.has(conflict.aggregateId) && conflict.sequence > (latest.get(conflict.aggregateId)?.sequence ?? 0))
      latest.set(conflict.aggregateId, conflict);
  const candidates = [...latest.values()].map(({ aggregateId, type, sequence }) => {
    return { type: aggregateTypeOf(type), id: aggregateId, sequence };
  });
  return execute<StaleHead>(em, CONFLICTING_HEADS, [JSON.stringify(candidates)]);
}

/**
 * Replays each imported event: an aggregate's events in sequence, and all in about the order in which they were recorded,
 * because one aggregate may hold what another had to release before, such as an e-mail address.
 */
async function replayAll(
  em: EntityManager,
  { over, erasing }: { over: ReadonlySet<string>; erasing: readonly string[] },
  { replay, end, log }: RestoreOptions,
): Promise<{ imported: number; notReplayed: number }> {
  let [imported, notReplayed] = [0, 0];
  for (;;) {
    const page = (await execute<EventRow>(em, `fetch ${PAGE} from lost`)).map(eventOf);
    for (const event of page) {
      // Canaries have no effect on the domain.
      if (event.aggregateId === CANARY_ID) continue;
      const { eventId, aggregateId, type } = event;
      try {
        await em.transactional((tx) => replay(tx, event, over.has(aggregateId)), { clear: true });
      } catch (error) {
        const fault = databaseFault(error);
        if (fault && fault !== 'input') throw error;
        notReplayed += 1;
        log.warn({ eventId, aggregateId, type, err: error }, 'cannot replay event: it is stored, but has no effect');
        // End the aggregate all the same: data that was erased must not come back.
        if (erasing.includes(type)) await end(em, aggregateId);
      }
      em.clear();
    }
    imported += page.length;
    if (page.length > 0) log.info({ replayed: imported }, 'replaying events');
    if (page.length < PAGE) return { imported, notReplayed };
  }
}

const OTHERS = `
select application_name as name, count(*)::int as count from pg_stat_activity
 where datname = current_database() and usename = current_user and application_name <> current_setting('application_name')
 group by 1 order by 1`;

// Events ahead of their aggregate's head were just imported.
const AHEAD = `
eventing.event_store f left join eventing.stream s on s.aggregate_type = f.aggregate_type and s.aggregate_id = f.aggregate_id
 where f.id >= ? and f.sequence > coalesce(s.last_sequence, 0)`;

const STALE_HEADS = `
select distinct f.aggregate_type as type, f.aggregate_id as id, coalesce(s.last_sequence, 0)::float8 as head from ${AHEAD} order by 2`;

// Ids grow with the clock of the recording machine, and clocks differ: within an aggregate the sequence decides.
const DECLARE_LOST = `
declare lost no scroll cursor for
select ${EVENT_COLUMNS} from ${AHEAD}
 order by max(f.id::text) over (partition by f.aggregate_id order by f.sequence), f.aggregate_id, f.sequence`;

// Excludes aggregates with a later imported or restored event, which has already informed the subscribers.
const CONFLICTING_HEADS = `
select a.type, a.id, s.last_sequence::float8 as head from jsonb_to_recordset(?::jsonb) as a(type text, id uuid, sequence bigint)
  join eventing.stream s on s.aggregate_type = a.type and s.aggregate_id = a.id
 where not exists (select from eventing.event_store f
                    where f.aggregate_id = a.id and f.sequence > a.sequence and f.event_channel in ('restore', 'unknown'))
 order by a.id`;
