import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { externalData, messageOf, type ReceivedEvent, type System, sourceOf, topicOf } from './cloud-event.ts';
import { enqueue } from './outbox.ts';
import { array, execute } from './sql.ts';

/** A fact that was published on a topic, without anything that it says. */
export interface PublishedEvent {
  readonly eventId: string;
  readonly type: string;
  readonly aggregateId: string;
  readonly sequence: number;
  /** Where it stands among all that was published on the topic; its publisher's word, for `after`. */
  readonly position: string;
}

export interface PublishedPage {
  readonly events: readonly PublishedEvent[];
  /** The position to go on from. */
  readonly next: string;
}

/** Which part of what was published is asked for. */
export interface PublishedRange {
  /** Only what came back after this position; without one nothing, but the position of this moment. */
  readonly after?: string | undefined;
  /** Only what came back before this message did, if it has come back. */
  readonly before?: string | undefined;
  /** Only what came back at least so long ago; milliseconds. */
  readonly ageMs: number;
  readonly limit: number;
}

/** Who publishes a topic, as those who hear it may ask. Each throws when the publisher cannot be asked now. */
export interface Publisher {
  /** What was published, in the order in which it came back. A fact that was published again is there again. */
  published(range: PublishedRange): Promise<PublishedPage>;
  /** Has these facts published again, to the asking app alone; not what is under way to it already. @returns how many */
  republish(eventIds: readonly string[]): Promise<number>;
}

/** The publisher of a system's own topics, who shares its database. @param target the app that asks */
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

/** What was published on a topic of this system; see Publisher. @param range its `after` fits POSITION */
export async function findPublished(em: EntityManager, topic: string, range: PublishedRange): Promise<PublishedPage> {
  const { after, before, ageMs, limit } = range;
  if (after === undefined) {
    const [row] = await execute<{ next: string }>(em, NOW);
    return { events: [], next: row!.next };
  }
  const [at, id] = after.split('_');
  // Asked before the rows are: whatever is still open by then is either waited for or can be read.
  const [settled] = await execute<{ until: string }>(em, UNTIL, [ageMs]);
  const bounds = [at, at, id, before ?? null, settled!.until];
  const events = await execute<PublishedEvent>(em, PUBLISHED, [topic, ...bounds, limit]);
  return { events, next: events.at(-1)?.position ?? after };
}

/**
 * Publishes facts again, as new messages to one target: those that were published on the topic, and are not under way to that target.
 * @returns how many
 */
export function republish(
  em: EntityManager,
  { system, topic, eventIds, target }: { system: System; topic: string; eventIds: readonly string[]; target: string },
): Promise<number> {
  return em.transactional(async (tx) => {
    // Replicas of an app miss the same at the same moment.
    await execute(tx, 'select pg_advisory_xact_lock(hashtextextended(?, 0))', [`republish ${topic} ${target}`]);
    const facts = await execute<Fact>(tx, FACTS, [array(eventIds), topic, target, topic, target, topic]);
    const channel = topic === topicOf(system, 'internal') ? 'internal' : 'external';
    for (const fact of facts) {
      const event = eventOf(system, fact);
      const data = channel === 'internal' ? event.data : externalData(system, event);
      await enqueue(tx, channel, topic, messageOf(event, { target, data }));
    }
    return facts.length;
  });
}

interface Fact extends Pick<ReceivedEvent, 'eventId' | 'type' | 'aggregateId' | 'sequence' | 'traceparent'> {
  readonly at: Date;
  readonly attributes: Record<string, string>;
  readonly reason: string | null;
}

/** A fact as it was heard when it was new, values encrypted. */
function eventOf(
  system: System,
  { at, attributes, reason, ...fact }: Fact,
): Omit<ReceivedEvent, 'messageId' | 'target'> {
  const data = { attributes, ...(reason && { reason }) };
  return { ...fact, source: sourceOf(system), time: new Date(at).toISOString(), data };
}

// A recorder that has not committed yet may write an earlier moment than those that can be read already.
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

const FACTS = `
select f.id as "eventId", event_type as type, aggregate_id as "aggregateId", sequence::float8 as sequence, traceparent, created_at as at,
    attributes, reason
  from eventing.event_store f
 where f.id = any(?::uuid[])
   and exists (select from eventing.published p where p.event_id = f.id and p.topic = ?)
   and not exists (select from eventing.outbox o where o.event_id = f.id and o.target = ? and o.topic = ?)
   and not exists (select from eventing.relayed r where r.event_id = f.id and r.target = ? and r.topic = ?)
 order by aggregate_id, sequence`;
