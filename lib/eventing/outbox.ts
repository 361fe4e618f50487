import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import {
  type Channel,
  type Envelope,
  EVERYBODY,
  externalData,
  messageOf,
  type System,
  topicOf,
} from './cloud-event.ts';
import type { Consumer } from './inbox.ts';
import { execute } from './sql.ts';

/** The channel on which a service tells its relay that rows wait. */
export const WAKE_UP = 'eventing_outbox';

const writers = new WeakSet<object>();

/** Marks that a transaction wrote outbox rows, so that the relay is woken once it has committed. */
export const wroteOutbox = (transaction: object | undefined): void => void (transaction && writers.add(transaction));
/** Did the transaction write outbox rows? Forgets it. */
export const takeWroteOutbox = (transaction: object | undefined): boolean =>
  transaction !== undefined && writers.delete(transaction);

/**
 * Wakes the relay, at most once in 10 ms. In a statement of its own after the commit: a NOTIFY inside the business transaction
 * takes a lock on the whole server at commit. One that is lost costs a polling interval.
 */
export class RelayWakeUp {
  readonly #orm: () => MikroORM;
  #timer: NodeJS.Timeout | undefined;

  constructor(orm: () => MikroORM) {
    this.#orm = orm;
  }

  /** Returns at once; never throws. */
  poke(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // Not awaited and its failure not told: the relay polls as well.
      void this.#orm()
        .em.getConnection()
        .execute(`select pg_notify('${WAKE_UP}', '')`)
        .catch(() => undefined);
    }, 10).unref();
  }
}

/** Puts one message into the outbox, in `em`'s transaction; `position` follows the order of the calls. */
export const enqueue = (em: EntityManager, channel: Channel, topic: string, message: Envelope): Promise<void> =>
  enqueueAll(em, channel, topic, [message]);

/** The same of many, in their order. */
export async function enqueueAll(
  em: EntityManager,
  channel: Channel,
  topic: string,
  messages: readonly Envelope[],
): Promise<void> {
  if (messages.length === 0) return;
  await execute(em, ENQUEUE, [channel, topic, JSON.stringify(messages)]);
  wroteOutbox(em.getTransactionContext());
}

const ENQUEUE = `
insert into eventing.outbox (id, event_id, channel, topic, ordering_key, target, envelope)
select (m ->> 'id')::uuid, (m ->> 'eventid')::uuid, ?, ?, m ->> 'partitionkey', m ->> 'target', m
  from jsonb_array_elements(?::jsonb) with ordinality as message(m, ord) order by ord`;

/**
 * Lets a parked message, and its key with it, be tried again, at once and with all its attempts.
 * @returns false when there is none such
 */
export async function releaseParked(em: EntityManager, id: string): Promise<boolean> {
  const rows = await execute(
    em,
    `update eventing.outbox set parked_at = null, next_attempt_at = null, attempts = 0
      where id = ? and parked_at is not null returning id`,
    [id],
  );
  return rows.length > 0;
}

/**
 * The consumer that says to other systems, in the closed form, what the system has said to itself: one external message
 * for each fact, in each aggregate's order, with the fact's sequence.
 */
export function broadcaster(system: System, name: string): Consumer {
  return {
    name,
    order: 'ordered',
    types: 'all',
    handle: (em, event) =>
      enqueue(
        em,
        'external',
        topicOf(system, 'external'),
        messageOf(event, { target: EVERYBODY, data: externalData(system, event) }),
      ),
  };
}
