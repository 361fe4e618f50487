import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { parseEnvelope, type ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { hasConflictTables } from '../schema-before.ts';
import { array, execute } from '../sql.ts';
import { ConflictError } from '../store/genuine.ts';
import { describeError, isOutage } from './failures.ts';

/** A delivered event, and the body that it was parsed from. */
export interface Delivery {
  readonly event: ReceivedEvent;
  /** The body as received. */
  readonly raw?: string | undefined;
  /** Event id of its row in `kept_delivery`, when it was deferred before. */
  readonly row?: string | undefined;
}

/** After this time a claimed delivery is due again, in case the claiming process was killed. */
const CLAIM = "interval '60 seconds'";
const LONGEST_BACKOFF_MS = 300_000;
/** Interval of retries after failures that spend no attempt, see `isOutage`. They never end; milliseconds. */
const OUTAGE_RETRY_MS = 1_000;
/** Of failures of a consumer that fails for all: an additional wait, as a share of the time since the event was received. */
const SLOWER = 0.125;

/** Defers an event that arrived out of order, in the caller's transaction. */
export async function deferOutOfOrder(
  em: EntityManager,
  { name }: Pick<Consumer, 'name'>,
  { event, raw }: Delivery,
  due: 'now' | 'after the one before it',
): Promise<void> {
  await execute(
    em,
    `insert into eventing.kept_delivery as k
       (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, raw, state, next_attempt_at)
     values (?, ?, ?, ?, ?, ?, ?::json, ?, 'early', case when ? then clock_timestamp() end)
     on conflict (consumer, event_id) do update set state = excluded.state, next_attempt_at = excluded.next_attempt_at
       where k.state <> 'discarded'`,
    [name, ...columnsOf({ event, raw }), due === 'now'],
  );
}

/** Values of the columns event_id to raw. `envelope` is for pods of the previous release, which do not read `raw`. */
const columnsOf = ({ event, raw }: Delivery): unknown[] => [
  event.eventId,
  event.source,
  event.aggregateId,
  event.sequence,
  event.type,
  JSON.stringify(event),
  raw === undefined ? null : storable(raw),
];

// PostgreSQL's text cannot hold NUL.
export const storable = (raw: string): string => raw.replaceAll('\0', '\\0');

/** `discarded`: an operator discarded it earlier; a new failure does not change that. */
export type DeferredState = 'failing' | 'dead' | 'discarded';

export interface Failure {
  readonly error: unknown;
  /** Failed attempts after which the delivery is dead; 0 when retrying cannot help. */
  readonly maxAttempts: number;
  readonly backoffMs: number;
  /** Whether the consumer fails for other events as well: then no attempt is spent. */
  readonly isSystemic?: boolean;
}

/**
 * Defers a failed delivery, in a transaction of its own; it may then be acknowledged to the broker.
 * An outage spends no attempt: a dependency or the database cannot be reached, or is too busy.
 * @returns the new state of the delivery
 * @throws ConflictError when a different event is deferred under its id; when the database cannot be reached
 */
export function deferFailed(
  orm: MikroORM,
  { name }: Pick<Consumer, 'name'>,
  delivery: Delivery,
  failure: Failure,
): Promise<DeferredState> {
  return defer(orm, [name, ...columnsOf(delivery)], failure, delivery.row === undefined);
}

/**
 * Defers a genuine delivery without having handled it, because the consumer fails for `cause`. It is due at once. A row that it
 * has already stays as it is.
 * @throws ConflictError when a different event is deferred under its id
 */
export async function deferUntried(
  orm: MikroORM,
  { name }: Pick<Consumer, 'name'>,
  delivery: Delivery,
  cause: unknown,
): Promise<void> {
  const error = `not handled yet, because the consumer fails: ${describeError(cause)}`.slice(0, 500);
  const { source, aggregateId, sequence, type, eventId } = delivery.event;
  const values = [name, ...columnsOf(delivery), error, name, eventId, source, aggregateId, sequence, type];
  // A row that another process has written since the statement began is only seen by the next one.
  for (let tries = 0; tries < 2; tries++) if ((await execute(orm.em.fork(), DEFER_UNTRIED, values)).length > 0) return;
  throw new ConflictError(`event ${eventId} is deferred already, as a different event`);
}

/** Columns of a row `k` that are compared with source, aggregate id, sequence and type: an id alone may be claimed by anybody. */
export const SAME_EVENT = '(k.stream, lower(k.aggregate_id), k.sequence, k.event_type)';

const DEFER_UNTRIED = `
with inserted as (
  insert into eventing.kept_delivery
    (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, raw, last_error, state, next_attempt_at)
  values (?, ?, ?, ?, ?, ?, ?::json, ?, ?, 'failing', clock_timestamp()) on conflict do nothing returning event_id
)
select event_id from inserted union all
select event_id from eventing.kept_delivery k where consumer = ? and event_id = ? and ${SAME_EVENT} = (?, ?, ?, ?)`;

/**
 * Inserts or updates a row of `kept_delivery`.
 * @param columns consumer to raw, in the order of the table
 * @param isFirst whether it came from the broker: the row of a different event with this id must not replace it
 */
export async function defer(
  orm: MikroORM,
  columns: readonly unknown[],
  { error, maxAttempts, backoffMs, isSystemic = false }: Failure,
  isFirst = false,
): Promise<DeferredState> {
  const spent = isSystemic || isOutage(error) ? 0 : 1;
  const wait = jitter(spent ? backoffMs : OUTAGE_RETRY_MS);
  const slower = isSystemic && !isOutage(error) ? SLOWER : 0;
  const [row] = await execute<{ state: DeferredState }>(orm.em.fork(), DEFER, [
    ...[...columns, spent, describeError(error), maxAttempts, wait],
    ...[maxAttempts, maxAttempts, wait, spent, slower, isFirst],
  ]);
  if (!row) throw new ConflictError(`event ${columns[1]} is deferred already, as a different event`);
  return row.state;
}

const DEFER = `
insert into eventing.kept_delivery as k
  (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, raw, attempts, last_error, state, next_attempt_at)
select c, e, s, a, n, t, v, r, spent, error, case when spent >= most then 'dead' else 'failing' end,
    case when spent < most then clock_timestamp() + wait * interval '1 millisecond' end
  from (select ?, ?::uuid, ?, ?, ?::bigint, ?, ?::json, ?, ?::int, ?, ?::int, ?::float)
    as i(c, e, s, a, n, t, v, r, spent, error, most, wait)
on conflict (consumer, event_id) do update set
  attempts = k.attempts + excluded.attempts,
  last_error = excluded.last_error,
  state = case when k.state = 'discarded' then k.state when k.attempts + excluded.attempts >= ? then 'dead' else 'failing' end,
  next_attempt_at = case when k.state <> 'discarded' and k.attempts + excluded.attempts < ?
    then clock_timestamp() + least(? * power(2, least(k.attempts, 20) * ?), ${LONGEST_BACKOFF_MS}) * interval '1 millisecond'
      + least(? * (clock_timestamp() - k.received_at), ${LONGEST_BACKOFF_MS} * interval '1 millisecond') end
  where not ? or ${SAME_EVENT} = (excluded.stream, excluded.aggregate_id, excluded.sequence, excluded.event_type)
returning state`;

/**
 * A due delivery. `envelope` is null for a body. `topic` is set for bodies only. Both `topic` and `raw` may be null in
 * rows of the previous release.
 */
export interface Due {
  readonly row: string;
  readonly topic: string | null;
  readonly raw: string | null;
  readonly envelope: ReceivedEvent | null;
}

/**
 * Claims due deliveries, the longest due first.
 * @param name a consumer, or `bodiesOf` an app
 * @returns the claimed deliveries, sorted by sequence
 */
export async function claimDue(orm: MikroORM, name: string, limit = 20): Promise<Due[]> {
  const em = orm.em.fork();
  const topic = (await hasConflictTables(em)) ? 'k.topic' : 'null as topic';
  const rows = await execute<Due & { sequence: string | null }>(
    em,
    `update eventing.kept_delivery k set next_attempt_at = clock_timestamp() + ${CLAIM}
      from (select consumer, event_id from eventing.kept_delivery
             where consumer = ? and next_attempt_at <= clock_timestamp()
             order by next_attempt_at limit ? for update skip locked) due
     where (k.consumer, k.event_id) = (due.consumer, due.event_id) returning k.event_id as row, k.sequence, ${topic}, k.raw, k.envelope`,
    [name, limit],
  );
  return rows.sort((a, b) => Number(a.sequence) - Number(b.sequence));
}

/** Makes claimed deliveries due again. */
export async function unclaim(orm: MikroORM, name: string, claimed: readonly Due[]): Promise<void> {
  const rows = array(claimed.map(({ row }) => row));
  await execute(orm.em.fork(), UNCLAIM, [name, rows]);
}

// Not those that were discarded or made dead meanwhile.
const UNCLAIM = `update eventing.kept_delivery set next_attempt_at = clock_timestamp()
  where consumer = ? and event_id = any(?::uuid[]) and next_attempt_at is not null`;

/** Parses a deferred delivery again, since an earlier release may have misread it. @throws Error when it is unreadable */
export function readDeferred({ raw, envelope }: Pick<Due, 'raw' | 'envelope'>): ReceivedEvent {
  if (raw !== null) return parseEnvelope(raw);
  if (envelope !== null) return envelope;
  throw new Error('the delivery was stored without its body');
}

/** Deletes the row of a delivery that was handled, or that only claimed the event's id. */
export async function deleteDeferred(em: EntityManager, consumer: string, row: string): Promise<void> {
  await execute(em, 'delete from eventing.kept_delivery where consumer = ? and event_id = ?', [consumer, row]);
}

const jitter = (ms: number): number => ms * (0.75 + Math.random() / 2);
