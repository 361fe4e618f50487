import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from './cloud-event.ts';
import type { Consumer } from './inbox.ts';
import { execute } from './sql.ts';

/** `due`: a kept delivery can be tried right now. */
export type Outcome = 'applied' | 'applied, next due' | 'was applied before' | 'kept' | 'kept, due';

/**
 * Applies one event once, in one transaction with the note that it is done.
 * @param source whether it comes from the broker, or from `kept_delivery`, where its row is then removed
 * @throws whatever the consumer throws, and when the database is not there; nothing is written then
 */
export async function attempt(
  orm: MikroORM,
  consumer: Consumer,
  event: ReceivedEvent,
  source: 'delivery' | 'kept',
): Promise<Outcome> {
  const acts = consumer.types === 'all' || consumer.types.includes(event.type);
  if (!acts && consumer.order === 'convergent') {
    // Kept by an earlier version of the consumer, which did act on it.
    if (source === 'kept') await forget(orm.em.fork(), consumer, event);
    return 'applied';
  }
  const mustRead = acts && consumer.read !== undefined;
  const hasRead = mustRead && (await isNext(orm, consumer, event));
  const read = hasRead ? await consumer.read?.(event) : undefined;
  return orm.em.fork().transactional(async (em) => {
    const apply = async (): Promise<boolean> => {
      if (mustRead && !hasRead) return false;
      if (acts) await consumer.handle(em, event, read);
      // What an ordered consumer only passes is no work of its own, and not shown as such.
      if (acts && consumer.order === 'ordered') await note(em, consumer, event);
      return true;
    };
    if (source === 'delivery' && (await isKept(em, consumer, event))) return 'kept';
    const outcome = await (consumer.order === 'ordered' ? inSequence : once)(em, consumer, event, apply);
    if (source === 'kept' && !outcome.startsWith('kept')) await forget(em, consumer, event);
    return outcome;
  });
}

/** Is it this event's turn, so that neighbours are worth asking? Looked up without a lock: whoever turns out to be wrong comes again. */
async function isNext(orm: MikroORM, consumer: Consumer, event: ReceivedEvent): Promise<boolean> {
  if (consumer.order === 'convergent') return true;
  const [row] = await execute<{ last_sequence: string }>(orm.em.fork(), SELECT_CURSOR, cursorKey(consumer, event));
  return event.sequence === Number(row?.last_sequence ?? 0) + 1;
}

/** Does the work; answers false, with nothing done, when it still has to ask neighbours first. */
type Apply = () => Promise<boolean>;

/** Convergent: whoever inserts the inbox row does it; a second delivery at the same moment waits for the first one's outcome. */
async function once(em: EntityManager, consumer: Consumer, event: ReceivedEvent, apply: Apply): Promise<Outcome> {
  if (!(await note(em, consumer, event))) return 'was applied before';
  await apply();
  return 'applied';
}

/** Ordered: under the lock of the aggregate's cursor. */
async function inSequence(em: EntityManager, consumer: Consumer, event: ReceivedEvent, apply: Apply): Promise<Outcome> {
  const key = cursorKey(consumer, event);
  const last = await lockCursor(em, key);
  if (event.sequence <= last) return 'was applied before';
  if (event.sequence > last + 1) {
    await keepEarly(em, consumer, event, 'after the one before it');
    return 'kept';
  }
  if (!(await apply())) {
    await keepEarly(em, consumer, event, 'now');
    return 'kept, due';
  }
  return (await advance(em, key, event.sequence)) ? 'applied, next due' : 'applied';
}

/** Locks the cursor of one consumer for one aggregate (consumer, stream, aggregate id), from 0 when it is new; answers the last sequence applied. */
export async function lockCursor(em: EntityManager, key: readonly unknown[]): Promise<number> {
  await execute(
    em,
    'insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence) values (?, ?, ?, 0) on conflict do nothing',
    key,
  );
  const [cursor] = await execute<{ last_sequence: string }>(em, `${SELECT_CURSOR} for update`, key);
  return Number(cursor!.last_sequence);
}

/**
 * Moves the cursor to `sequence`, and on past what operators have discarded there; makes the event after it due, if it waits.
 * @returns whether one waits
 */
export async function advance(em: EntityManager, key: readonly unknown[], sequence: number): Promise<boolean> {
  const [next] = await execute<{ state: string }>(
    em,
    `update eventing.kept_delivery set next_attempt_at = case when state in ('early', 'failing') then clock_timestamp() end
      where consumer = ? and stream = ? and aggregate_id = ? and sequence = ? returning state`,
    [...key, sequence + 1],
  );
  if (next?.state === 'discarded') return advance(em, key, sequence + 1);
  await execute(
    em,
    'update eventing.cursor set last_sequence = ? where consumer = ? and stream = ? and aggregate_id = ?',
    [sequence, ...key],
  );
  return next !== undefined && next.state !== 'dead';
}

const SELECT_CURSOR =
  'select last_sequence from eventing.cursor where consumer = ? and stream = ? and aggregate_id = ?';
const cursorKey = (consumer: Consumer, event: ReceivedEvent) => [consumer.name, event.source, event.aggregateId];

async function note(em: EntityManager, consumer: Consumer, event: ReceivedEvent): Promise<boolean> {
  const rows = await execute(
    em,
    'insert into eventing.inbox (consumer, event_id) values (?, ?) on conflict do nothing returning event_id',
    [consumer.name, event.eventId],
  );
  return rows.length > 0;
}

async function isKept(em: EntityManager, consumer: Consumer, event: ReceivedEvent): Promise<boolean> {
  const rows = await execute(em, 'select 1 from eventing.kept_delivery where consumer = ? and event_id = ?', [
    consumer.name,
    event.eventId,
  ]);
  return rows.length > 0;
}

async function forget(em: EntityManager, consumer: Consumer, event: ReceivedEvent): Promise<void> {
  await execute(em, 'delete from eventing.kept_delivery where consumer = ? and event_id = ?', [
    consumer.name,
    event.eventId,
  ]);
}

async function keepEarly(
  em: EntityManager,
  consumer: Consumer,
  event: ReceivedEvent,
  due: 'now' | 'after the one before it',
): Promise<void> {
  await execute(
    em,
    `insert into eventing.kept_delivery as k (consumer, event_id, stream, aggregate_id, sequence, event_type, state, envelope, next_attempt_at)
     values (?, ?, ?, ?, ?, ?, 'early', ?::json, case when ? then clock_timestamp() end)
     on conflict (consumer, event_id) do update set state = excluded.state, next_attempt_at = excluded.next_attempt_at
       where k.state <> 'discarded'`,
    [
      consumer.name,
      event.eventId,
      event.source,
      event.aggregateId,
      event.sequence,
      event.type,
      JSON.stringify(event),
      due === 'now',
    ],
  );
}
