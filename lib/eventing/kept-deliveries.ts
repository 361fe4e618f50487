import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from './cloud-event.ts';
import { advance, lockCursor } from './consume.ts';
import type { Consumer } from './inbox.ts';
import { databaseOutage, execute } from './sql.ts';

/** Whoever has claimed a delivery and then died gives it back after this long. */
const CLAIM = "interval '60 seconds'";
const LONGEST_BACKOFF_MS = 300_000;
/** Nobody's fault and soon over, or over when somebody else's outage is: tried again about this soon, for ever. */
const OUTAGE_RETRY_MS = 1_000;

/**
 * Keeps a delivery that failed, in a transaction of its own: the broker may then forget it.
 * An outage (`outage: true` on the error, or a database that was busy or away) spends no attempt.
 * @returns its state now
 * @throws when the database is not there
 */
export async function keepFailed(
  orm: MikroORM,
  consumer: Consumer,
  event: ReceivedEvent,
  { error, maxAttempts, backoffMs }: { error: unknown; maxAttempts: number; backoffMs: number },
): Promise<'failing' | 'dead'> {
  const spent = isOutage(error) ? 0 : 1;
  const [row] = await execute<{ state: 'failing' | 'dead' }>(
    orm.em.fork(),
    `insert into eventing.kept_delivery as k
       (consumer, event_id, stream, aggregate_id, sequence, event_type, envelope, attempts, last_error, state, next_attempt_at)
     select c, e, s, a, n, t, v, spent, error, case when spent >= most then 'dead' else 'failing' end,
         case when spent < most then clock_timestamp() + wait * interval '1 millisecond' end
       from (select ?, ?::uuid, ?, ?, ?::bigint, ?, ?::json, ?::int, ?, ?::int, ?::float) as i(c, e, s, a, n, t, v, spent, error, most, wait)
     on conflict (consumer, event_id) do update set
       attempts = k.attempts + excluded.attempts,
       last_error = excluded.last_error,
       state = case when k.state = 'discarded' then k.state when k.attempts + excluded.attempts >= ? then 'dead' else 'failing' end,
       next_attempt_at = case when k.state <> 'discarded' and k.attempts + excluded.attempts < ?
         then clock_timestamp() + least(? * power(2, least(k.attempts, 20) * ?), ${LONGEST_BACKOFF_MS}) * interval '1 millisecond' end
     returning state`,
    [
      consumer.name,
      event.eventId,
      event.source,
      event.aggregateId,
      event.sequence,
      event.type,
      JSON.stringify(event),
      spent,
      describe(error),
      maxAttempts,
      jitter(spent ? backoffMs : OUTAGE_RETRY_MS),
      maxAttempts,
      maxAttempts,
      jitter(spent ? backoffMs : OUTAGE_RETRY_MS),
      spent,
    ],
  );
  return row!.state;
}

/** Keeps a body that is no event this system can read, for an operator to look at. Dead from the start. */
export async function keepUnreadable(orm: MikroORM, consumer: string, raw: string, error: unknown): Promise<void> {
  await execute(
    orm.em.fork(),
    `insert into eventing.kept_delivery (consumer, event_id, state, attempts, last_error, raw) values (?, ?, 'dead', 1, ?, ?)`,
    // PostgreSQL's text has no NUL.
    [consumer, uuid(), describe(error), raw.replaceAll('\0', '\\0')],
  );
}

/** Claims up to 20 due deliveries of a consumer, the longest due first; those of one aggregate in sequence. */
export async function claimDue(orm: MikroORM, consumer: string): Promise<ReceivedEvent[]> {
  const rows = await execute<{ envelope: ReceivedEvent }>(
    orm.em.fork(),
    `update eventing.kept_delivery k set next_attempt_at = clock_timestamp() + ${CLAIM}
      from (select consumer, event_id from eventing.kept_delivery
             where consumer = ? and next_attempt_at <= clock_timestamp()
             order by next_attempt_at limit 20 for update skip locked) due
     where (k.consumer, k.event_id) = (due.consumer, due.event_id) returning k.envelope`,
    [consumer],
  );
  return rows.map(({ envelope }) => envelope).sort((a, b) => a.sequence - b.sequence);
}

/**
 * Lets a dead or failing delivery be tried again, at once and with all its attempts.
 * @returns false when there is none such, or it could never be read
 */
export async function redrive(em: EntityManager, consumer: string, eventId: string): Promise<boolean> {
  const rows = await execute(
    em,
    `update eventing.kept_delivery set state = 'failing', attempts = 0, next_attempt_at = clock_timestamp()
      where consumer = ? and event_id = ? and state in ('dead', 'failing') and envelope is not null returning event_id`,
    [consumer, eventId],
  );
  return rows.length > 0;
}

/**
 * Gives a dead delivery up for good. Its row stays, to be seen; an ordered consumer moves on to the aggregate's next event.
 * @returns false when there is none such
 */
export async function discard(
  em: EntityManager,
  { name: consumer, order }: Pick<Consumer, 'name' | 'order'>,
  eventId: string,
): Promise<boolean> {
  return em.transactional(async (tx) => {
    const [row] = await execute<{ stream: string | null; aggregate_id: string; sequence: string }>(
      tx,
      `update eventing.kept_delivery set state = 'discarded', next_attempt_at = null
        where consumer = ? and event_id = ? and state = 'dead' returning stream, aggregate_id, sequence`,
      [consumer, eventId],
    );
    if (!row) return false;
    const key = [consumer, row.stream, row.aggregate_id];
    const sequence = Number(row.sequence);
    if (order === 'ordered' && row.stream && (await lockCursor(tx, key)) === sequence - 1)
      await advance(tx, key, sequence);
    return true;
  });
}

/** A neighbour or the database could not be reached, or was too busy: nothing is wrong with the event. */
function isOutage(error: unknown): boolean {
  if (!Error.isError(error)) return false;
  const { outage } = error as { outage?: boolean };
  if (outage === true || error.name === 'OptimisticLockError' || databaseOutage(error)) return true;
  return isOutage(error.cause);
}

const jitter = (ms: number): number => ms * (0.75 + Math.random() / 2);

/**
 * The error for people, without what it was about: drivers put the values of failed statements into their messages, parsers the text
 * that they could not read.
 */
function describe(error: unknown): string {
  if (!Error.isError(error)) return 'not an Error was thrown';
  const { code, slug, issues } = error as {
    code?: string;
    slug?: string;
    issues?: { path: PropertyKey[]; code: string }[];
  };
  const what = slug ?? code ?? issues?.map((issue) => `${issue.path.join('.')} ${issue.code}`).join(', ');
  const quotes = error.name === 'SyntaxError' || issues || error.name.endsWith('Exception');
  const message = quotes ? '' : `: ${error.message.split('\n')[0]}`;
  return `${error.name}${what ? ` (${what})` : ''}${message}`.replaceAll('\0', '').slice(0, 500);
}
