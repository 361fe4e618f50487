import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { externalData, messageOf, type System, sourceOf, topicOf } from '../cloud-event.ts';
import { enqueue } from '../outbox/outbox.ts';
import { array, execute } from '../sql.ts';
import { EVENT_COLUMNS, type EventRow, eventOf } from '../store/stored-event.ts';

/** An event that was published on a topic, without its content. */
export interface PublishedEvent {
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  /** Position in the publication order of the topic, an opaque value for `after`. */
  readonly position: string;
}

export interface PublishedPage {
  readonly events: readonly PublishedEvent[];
  /** The position to continue from. */
  readonly next: string;
}

/** Selects a part of the publication order. */
export interface PublishedRange {
  /** Only events confirmed after this position. If absent, the page is empty and `next` is the present position. */
  readonly after?: string | undefined;
  /** Only events confirmed before this message was, if it is confirmed. */
  readonly before?: string | undefined;
  /** Only events confirmed at least this long ago; milliseconds. */
  readonly ageMs: number;
  readonly limit: number;
}

/** The publisher of a topic, as seen by a subscriber. Both methods throw when the publisher cannot be reached. */
export interface Publisher {
  /** Lists published events in the order of their confirmation. An event that was republished is listed again. */
  published(range: PublishedRange): Promise<PublishedPage>;
  /** Republishes these events to the requesting app only, except those pending for it. @returns how many */
  republish(eventIds: readonly string[]): Promise<number>;
}

/** Creates the publisher of a system's own topics, on its own database. @param target the requesting app */
export function ownPublisher(
  orm: MikroORM,
  { system, topic, target }: { system: System; topic: string; target: string },
): Publisher {
  return {
    published: (range) => findPublished(orm.em.fork(), topic, range),
    republish: (eventIds) => republish(orm.em.fork(), { system, topic, eventIds, target }),
  };
}

/** A position is `<microseconds since 1970>_<message id>`. */
export const POSITION = /^\d{1,16}_[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/;

/** Lists events published on a topic of this system; see Publisher. @param range its `after` matches POSITION */
export async function findPublished(em: EntityManager, topic: string, range: PublishedRange): Promise<PublishedPage> {
  const { after, before, ageMs, limit } = range;
  if (after === undefined) {
    const [row] = await execute<{ next: string }>(em, NOW);
    return { events: [], next: row!.next };
  }
  const [at, id] = after.split('_');
  // Queried before the rows, so that all transactions below this bound have ended and their rows are visible.
  const [settled] = await execute<{ until: string }>(em, UNTIL, [ageMs]);
  const bounds = [at, at, id, before ?? null, settled!.until];
  const events = await execute<PublishedEvent>(em, PUBLISHED, [topic, ...bounds, limit]);
  return { events, next: events.at(-1)?.position ?? after };
}

/**
 * Republishes events as new messages to one target: those published on the topic, except those pending for that target.
 * @returns how many
 */
export function republish(
  em: EntityManager,
  { system, topic, eventIds, target }: { system: System; topic: string; eventIds: readonly string[]; target: string },
): Promise<number> {
  return em.transactional(async (tx) => {
    // Serialised, because replicas of an app find the same events missing at the same moment.
    await execute(tx, 'select pg_advisory_xact_lock(hashtextextended(?, 0))', [`republish ${topic} ${target}`]);
    const rows = await execute<EventRow>(tx, EVENTS, [array(eventIds), topic, target, topic, target, topic]);
    const channel = topic === topicOf(system, 'internal') ? 'internal' : 'external';
    for (const row of rows) {
      const event = { ...eventOf(row), source: sourceOf(system) };
      const data = channel === 'internal' ? event.data : externalData(system, event);
      await enqueue(tx, channel, topic, messageOf(event, { target, data }));
    }
    return rows.length;
  });
}

// A recorder that has not committed yet may have written an earlier moment than those visible already.
const SETTLED = `
least(clock_timestamp(), (select min(xact_start) from pg_stat_activity where datname = current_database() and usename = current_user))`;
const micros = (moment: string) => `(extract(epoch from ${moment}) * 1000000)::bigint`;

const UNTIL = `select (${SETTLED} - ?::float8 * interval '1 millisecond')::text as until`;
const NOW = `select ${micros(SETTLED)} || '_00000000-0000-0000-0000-000000000000' as next`;

const PUBLISHED = `
select p.event_id as "eventId", f.event_type as type, f.aggregate_id as "aggregateId", f.sequence::float8 as sequence,
    ${micros('p.published_at')} || '_' || p.id as position
  from eventing.published p join eventing.event_store f on f.id = p.event_id
 where p.topic = ? and p.published_at >= timestamptz 'epoch' + ?::float8 * interval '1 microsecond'
   and (p.published_at, p.id) > (timestamptz 'epoch' + ?::float8 * interval '1 microsecond', ?::uuid)
   and p.published_at < coalesce((select published_at from eventing.published where id = ?::uuid), 'infinity')
   and p.published_at < ?::timestamptz
 order by p.published_at, p.id limit ?`;

const EVENTS = `
select ${EVENT_COLUMNS}
  from eventing.event_store f
 where f.id = any(?::uuid[])
   and exists (select from eventing.published p where p.event_id = f.id and p.topic = ?)
   and not exists (select from eventing.outbox o where o.event_id = f.id and o.target = ? and o.topic = ?)
   and not exists (select from eventing.relayed r where r.event_id = f.id and r.target = ? and r.topic = ?)
 order by aggregate_id, sequence`;
