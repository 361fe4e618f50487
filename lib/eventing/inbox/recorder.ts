import { isDeepStrictEqual } from 'node:util';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import { databaseFault } from '../database-faults.ts';
import { hasReceive } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { asStored, ConflictError } from '../store/genuine.ts';
import { confirmBefore } from './confirm-before.ts';

/** A message that was received back from its topic. */
export interface ReceivedMessage {
  readonly topic: string;
  readonly event: ReceivedEvent;
  /** Returns the `data` that a genuine message of a stored event has. */
  readonly dataOf: (event: ReceivedEvent) => unknown;
}

interface Batch {
  /** By id: the message as `confirm_1` takes it. */
  readonly messages: Map<string, object>;
  readonly confirmed: Promise<ReadonlySet<string>>;
}

/**
 * Confirms messages that were received back from their topic, whatever their target. It needs no inbox, because
 * confirming twice has the same effect as once. Messages that arrive while a batch is written form the next batch.
 */
export class Recorder {
  readonly #orm: MikroORM;
  #next: Batch | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(orm: MikroORM) {
    this.#orm = orm;
  }

  /**
   * Resolves when the message is recorded as published, now or earlier. An unknown message is ignored if its event is genuine: it
   * may be deleted from `published` already.
   * @throws ConflictError when it differs from the stored event or from the message that was sent; when the database cannot be reached
   */
  async confirm(message: ReceivedMessage): Promise<void> {
    if (await this.#confirmAsSent(message)) return;
    const em = this.#orm.em.fork();
    const { messageId } = message.event;
    if (!(await isUnconfirmed(em, message))) return;
    if (await hasReceive(em)) await confirm(em, [{ id: messageId, is_verified: true }]);
    else await confirmBefore(em, messageId);
  }

  /** @returns false when there is no such message to be confirmed, or it is not as it was sent */
  async #confirmAsSent({ topic, event }: ReceivedMessage): Promise<boolean> {
    if (!(await hasReceive(this.#orm.em))) return false;
    const { messageId, eventId, target, type, aggregateId, sequence, time, data } = event;
    this.#next ??= this.#nextBatch();
    const { messages, confirmed } = this.#next;
    // Another message that claims the same id.
    if (messages.has(messageId)) return false;
    const sent = { event_id: eventId, topic, target, type, subject: aggregateId, sequence, time, data };
    messages.set(messageId, { id: messageId, ...sent });
    return (await confirmed).has(messageId);
  }

  #nextBatch(): Batch {
    const messages = new Map<string, object>();
    const confirmed = this.#running.then(() => {
      this.#next = undefined;
      return confirmSent(this.#orm.em.fork(), [...messages.values()]);
    });
    this.#running = confirmed.catch(() => undefined);
    return { messages, confirmed };
  }
}

/** @returns the ids of the messages that were confirmed by it */
async function confirm(em: EntityManager, messages: readonly object[]): Promise<ReadonlySet<string>> {
  const rows = await execute<{ id: string }>(em, CONFIRM, [JSON.stringify(messages)]);
  return new Set(rows.map(({ id }) => id));
}

async function confirmSent(em: EntityManager, messages: readonly object[]): Promise<ReadonlySet<string>> {
  try {
    return await confirm(em, messages);
  } catch (error) {
    // One of them holds what PostgreSQL's JSON cannot, such as U+0000, so it was never sent: each is verified by itself.
    if (databaseFault(error) === 'input') return new Set();
    throw error;
  }
}

const CONFIRM = 'select id from eventing.confirm_1(?::jsonb) as id';

/**
 * Returns whether a message is to be confirmed, after comparing it with the stored event and with what is known of the sent message.
 * @throws ConflictError when it differs
 */
async function isUnconfirmed(em: EntityManager, { topic, event, dataOf }: ReceivedMessage): Promise<boolean> {
  const stored = await asStored(em, event);
  if (event.time !== stored.time || !isDeepStrictEqual(event.data, dataOf(stored)))
    throw new ConflictError(`the message of event ${event.eventId} differs from the stored event`);
  const [sent] = await execute<SentMessage>(em, SENT, [event.messageId]);
  if (!sent) return false;
  if (sent.event_id !== event.eventId || sent.topic !== topic || sent.target !== event.target)
    throw new ConflictError(
      `message ${event.messageId} was sent to ${sent.topic} for ${sent.target} with event ${sent.event_id}, not as received`,
    );
  return sent.published_at === null;
}

interface SentMessage {
  readonly event_id: string;
  readonly topic: string;
  readonly target: string;
  readonly published_at: unknown;
}

const SENT = 'select event_id, topic, target, published_at from eventing.delivery where id = ?';
