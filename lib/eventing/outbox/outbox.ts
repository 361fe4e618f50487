import { AsyncLocalStorage } from 'node:async_hooks';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { Channel, Envelope } from '../cloud-event.ts';
import { MOST_AT_ONCE, type ParkedFilter, parkedConditions } from '../operator-actions.ts';
import { array, execute } from '../sql.ts';

/** PostgreSQL notification channel that wakes the relay. */
export const WAKE_UP = 'eventing_outbox';

const writers = new WeakSet<object>();

/** Marks that a transaction wrote outbox rows, so that the relay is woken after the commit. */
export const markOutboxWritten = (transaction: object | undefined): void =>
  void (transaction && writers.add(transaction));
/** Returns whether the transaction wrote outbox rows, and clears the mark. */
export const takeOutboxWritten = (transaction: object | undefined): boolean =>
  transaction !== undefined && writers.delete(transaction);

/** Milliseconds between two wake-ups of the relay by one process, at least. */
const WAKE_UP_MS = 10;

/**
 * Wakes the relay: at once, but no more than a hundred times a second. Uses a separate statement after the commit, because a NOTIFY inside
 * the business transaction takes a server-wide lock at commit. A lost wake-up costs one polling interval.
 */
export class RelayWakeUp {
  readonly #orm: () => MikroORM;
  /** Runs a function without the context of a request: its timers would keep that in memory for as long as there are commits. */
  readonly #withoutContext = AsyncLocalStorage.snapshot();
  #isPausing = false;
  #isDue = false;

  constructor(orm: () => MikroORM) {
    this.#orm = orm;
  }

  /** Returns immediately; never throws. */
  wake(): void {
    this.#isDue = true;
    if (this.#isPausing) return;
    this.#isPausing = true;
    this.#withoutContext(() => this.#notify());
  }

  #notify(): void {
    this.#isDue = false;
    setTimeout(() => this.#endPause(), WAKE_UP_MS).unref();
    // Neither awaited nor logged when it fails, because the relay polls as well.
    void this.#orm()
      .em.getConnection()
      .execute(`select pg_notify('${WAKE_UP}', '')`)
      .catch(() => undefined);
  }

  #endPause(): void {
    if (this.#isDue) this.#notify();
    else this.#isPausing = false;
  }
}

/** Adds one message to the outbox, in `em`'s transaction. Positions follow the order of the calls. */
export const enqueue = (em: EntityManager, channel: Channel, topic: string, message: Envelope): Promise<void> =>
  enqueueAll(em, channel, topic, [message]);

/** Adds several messages to the outbox, in their order. See `enqueue`. */
export async function enqueueAll(
  em: EntityManager,
  channel: Channel,
  topic: string,
  messages: readonly Envelope[],
): Promise<void> {
  if (messages.length === 0) return;
  await execute(em, ENQUEUE, [channel, topic, JSON.stringify(messages)]);
  markOutboxWritten(em.getTransactionContext());
}

const ENQUEUE = `
insert into eventing.outbox (id, event_id, channel, topic, ordering_key, target, envelope)
select (m ->> 'id')::uuid, (m ->> 'eventid')::uuid, ?, ?, m ->> 'partitionkey', m ->> 'target', m
  from jsonb_array_elements(?::jsonb) with ordinality as message(m, ord) order by ord`;

/** Locks the parked messages that match, in the order of their ids, as the relay does: at most one more than may be changed at once. */
export async function lockParked(em: EntityManager, filter: ParkedFilter): Promise<string[]> {
  const { sql, values } = parkedConditions(filter);
  const rows = await execute<{ id: string }>(
    em,
    `select id from eventing.outbox where parked_at is not null and ${sql} order by id limit ${MOST_AT_ONCE + 1} for update`,
    values,
  );
  return rows.map(({ id }) => id);
}

/**
 * Releases parked messages and their ordering keys for immediate publishing, with all attempts restored.
 * @returns how many of them were parked
 */
export async function releaseParked(em: EntityManager, ids: readonly string[]): Promise<number> {
  const rows = await execute(
    em,
    `update eventing.outbox set parked_at = null, next_attempt_at = clock_timestamp(), attempts = 0
      where id = any(?::uuid[]) and parked_at is not null returning id`,
    [array(ids)],
  );
  return rows.length;
}
