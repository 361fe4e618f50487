import type { MikroORM } from '@mikro-orm/postgresql';
import { ALL_TARGETS, assertUuidV7, parseEnvelope, type ReceivedEvent } from '../cloud-event.ts';
import type { Consumer } from '../consumer.ts';
import { databaseFault } from '../database-faults.ts';
import type { OtherPublisher, WatchedTopic } from '../recovery/subscription-watchdog.ts';
import { ConflictError } from '../store/genuine.ts';
import { ConfirmationQueue } from './confirmation-queue.ts';
import { deferBody, deleteBody } from './deferred-bodies.ts';
import type { Due } from './deferred-deliveries.ts';
import type { Inbox } from './inbox.ts';
import type { Recorder } from './recorder.ts';

/** The subscription of this process to a topic. */
export interface Subscriber extends WatchedTopic {
  /** The only CloudEvents source that may publish there. Messages from other sources become dead letters. */
  readonly source: string;
  readonly consumers?: readonly Consumer[];
  readonly publisher?: OtherPublisher;
  /** For topics of this system: confirms received messages. */
  readonly recorder?: Recorder;
  /** Returns the `data` that a genuine message of a stored event has (default: the stored data). */
  readonly dataOf?: (event: ReceivedEvent) => unknown;
}

export interface ReceiverOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  readonly topics: Readonly<Record<string, Subscriber>>;
  readonly inbox: Inbox;
  /** Called with each message that could be parsed. */
  readonly received?: (topic: string, messageId: string) => void;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** For bodies: failed attempts before one is a dead letter, and milliseconds before the second attempt. */
const RETRY_POLICY = { maxAttempts: 8, backoffMs: 5_000 };

interface Received {
  readonly topic: string;
  readonly raw: string;
  readonly readError?: Error | undefined;
  /** Its row, when it was deferred before. */
  readonly row?: string | undefined;
}

/** Parses the messages received on a topic, and passes each to the recorder and the consumers of this process. */
export class Receiver implements AsyncDisposable {
  readonly #options: ReceiverOptions;
  readonly #confirmations: ConfirmationQueue;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#confirmations = new ConfirmationQueue(options.log);
  }

  /** Resolves when no confirmation is in progress any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#confirmations[Symbol.asyncDispose]();
  }

  /**
   * Resolves when the body may be acknowledged: every consumer has applied or deferred the event, or the body is deferred. The recorder may
   * still be at work.
   * @param readError why the body cannot be used, if so
   * @throws when the database cannot be reached, so that nothing could be recorded
   */
  async receive(topic: string, raw: string, readError?: Error): Promise<void> {
    await this.#handle({ topic, raw, readError });
  }

  /** Handles a deferred body again. @throws when the database cannot be reached */
  async redeliver({ row, topic, raw }: Due): Promise<void> {
    const { orm, appId } = this.#options;
    if ((await this.#handle({ topic: topic ?? this.#topicOf(raw), raw: raw ?? '', row })) === 'handled')
      await deleteBody(orm, appId, row);
  }

  async #handle({ topic, raw, readError, row }: Received): Promise<'handled' | 'deferred'> {
    let event: ReceivedEvent | undefined;
    try {
      if (readError) throw readError;
      const parsed = parseEnvelope(raw);
      if (row === undefined) assertUuidV7(parsed);
      event = parsed;
      this.#options.received?.(topic, event.messageId);
      await this.#dispatch({ topic, raw, row }, event);
      return 'handled';
    } catch (error) {
      await this.#defer({ topic, raw, row }, error, event);
      return 'deferred';
    }
  }

  /** @throws `error` if the database cannot be reached */
  async #defer({ topic, raw, row }: Received, error: unknown, event: ReceivedEvent | undefined): Promise<void> {
    if (isDatabaseOutage(error)) throw error;
    const { orm, appId, log } = this.#options;
    // Retrying cannot help a body that is unreadable or not genuine.
    const isFinal = event === undefined || error instanceof ConflictError;
    const failure = { error, ...RETRY_POLICY, ...(isFinal && { maxAttempts: 0 }) };
    const state = await deferBody(orm, { appId, topic, raw, row }, failure, event);
    const fields = { topic, eventId: event?.eventId, type: event?.type, aggregateId: event?.aggregateId, err: error };
    if (state === 'discarded') log.warn(fields, 'received a discarded body again; it stays discarded');
    else log.error(fields, state === 'dead' ? 'dead letter: redrive or discard it' : 'delivery failed, retrying');
  }

  /** Guesses the topic of a body from its source, because the previous release did not store the topic. */
  #topicOf(raw: string | null): string {
    const topics = Object.entries(this.#options.topics);
    const source = sourceIn(raw);
    return (topics.find(([, it]) => it.source === source) ?? topics[0]!)[0];
  }

  /** Delivers to each consumer in a transaction of its own, so that no failure affects another consumer. */
  async #dispatch(received: Received, event: ReceivedEvent): Promise<void> {
    const { topic, raw, row } = received;
    const { appId, inbox, topics } = this.#options;
    const { source, consumers = [], recorder, dataOf = ({ data }) => data } = topics[topic]!;
    if (event.source !== source)
      throw new ConflictError(`received an event of ${event.source} on ${topic}, where only ${source} may publish`);
    const confirm = async () => await recorder?.confirm({ topic, event, dataOf });
    if (consumers.length === 0 && row === undefined)
      return await this.#confirmations.add(() => confirm().catch((error) => this.#defer(received, error, event)));
    // Consumers ignore a message for another target; the recorder confirms it all the same.
    const isForThisApp = event.target === ALL_TARGETS || event.target === appId;
    const deliveries = isForThisApp ? consumers.map((consumer) => inbox.deliver(consumer, event, { raw })) : [];
    const outcomes = await Promise.allSettled([confirm(), ...deliveries]);
    const errors = outcomes.flatMap((it) => (it.status === 'rejected' ? [it.reason as unknown] : []));
    if (errors.length > 0) throw errors.find(isDatabaseOutage) ?? errors[0];
  }
}

/** The only case for broker redelivery: every other failure can be recorded in the database. */
const isDatabaseOutage = (error: unknown): boolean => databaseFault(error) === 'outage';

function sourceIn(raw: string | null): string | undefined {
  try {
    return parseEnvelope(raw ?? '').source;
  } catch {
    return undefined;
  }
}
