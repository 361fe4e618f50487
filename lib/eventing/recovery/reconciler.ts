import { setTimeout as delay } from 'node:timers/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from '../consumer.ts';
import { hasHorizon } from '../schema-before.ts';
import { execute } from '../sql.ts';
import { addMissing, deleteMissing, findMissingAt } from './missing-events.ts';
import type { PublishedEvent, Publisher } from './republish.ts';

/** A topic whose consumers must receive everything published there. */
export interface ReconciledTopic {
  /** CloudEvents source of its events. */
  readonly source: string;
  readonly consumers: readonly Pick<Consumer, 'name' | 'order' | 'types'>[];
  readonly publisher: Publisher;
}

export interface ReconcilerOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  readonly topics: Readonly<Record<string, ReconciledTopic>>;
  /** How long after its confirmation an event may still be in transit to this app; milliseconds. */
  readonly afterMs: number;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** Events compared per page. */
const PAGE = 500;
/** Events requested in one batch. */
const REQUEST = 100;
/** Pause before the next request; milliseconds. */
const PAUSE_MS = 1_000;
const NEXT_INTERVAL = Number.POSITIVE_INFINITY;
const MAX_REQUESTED = 10_000;
const FIRST_ID = '00000000-0000-0000-0000-000000000000';
/** Requests after which an event is abandoned; counted only while the app receives other messages. */
const MAX_REQUESTS_PER_EVENT = 3;

/**
 * Finds published events that never arrived, because a broker can lose a message after the recorder has confirmed it.
 * Compares the publication log, in order of confirmation, with what the consumers have, and requests missing events.
 *
 * Only events confirmed before the message received last are compared, because later ones may be in transit. When nothing
 * was received for long, only the oldest missing event is requested. Its new message is the latest in the log: once it
 * arrives, everything confirmed before it is compared.
 *
 * A requested event is published anew and so appears in the log again: its own loss would be found as well.
 */
export class Reconciler implements AsyncDisposable {
  readonly #options: ReconcilerOptions;
  readonly #requested = new Map<string, number>();
  /** By topic: the abandoned event that was looked at last. All are looked at in turns. */
  readonly #lookedAt = new Map<string, string>();
  readonly #stop = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Starts comparing, until disposed. A new app starts at the present position of each topic. */
  start(): this {
    this.#loops = Promise.all(Object.entries(this.#options.topics).map(([topic, it]) => this.#run(topic, it)));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loops;
  }

  async #run(topic: string, it: ReconciledTopic): Promise<void> {
    const { afterMs, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = afterMs / 2;
      try {
        pause = Math.min(pause, await this.#reconcile(topic, it));
      } catch (error) {
        log.warn({ topic, err: error }, 'cannot compare published and received events, retrying');
      }
      await delay(pause, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Compares one page and requests what is missing. @returns milliseconds until the next page is worth comparing */
  async #reconcile(topic: string, { source, consumers, publisher }: ReconciledTopic): Promise<number> {
    const { afterMs: ageMs, log } = this.#options;
    const state = await this.#state(topic);
    const before = state.quiet ? undefined : (state.messageId ?? undefined);
    const page = await publisher.published({ after: state.position ?? undefined, before, ageMs, limit: PAGE });
    const missing = await this.#missing(topic, page.events, { source, consumers });
    await this.#forgetArrived(topic, { source, consumers });
    if (missing.length === 0) {
      await this.#advance(topic, state.position, page.next);
      return page.events.length === PAGE ? 0 : NEXT_INTERVAL;
    }
    const requested = missing.slice(0, state.quiet ? 1 : REQUEST);
    const sent = await publisher.republish(requested.map(({ eventId }) => eventId));
    if (sent > 0) log.warn({ topic, events: sent }, 'published events have not arrived, requested them again');
    if (state.quiet) return NEXT_INTERVAL;
    // Bounded: another replica may have compared the pages that would remove entries. Forgetting one costs a request.
    if (this.#requested.size > MAX_REQUESTED) this.#requested.clear();
    for (const { eventId } of requested) this.#requested.set(eventId, (this.#requested.get(eventId) ?? 0) + 1);
    const all = requested.length === missing.length;
    await this.#advance(topic, state.position, all ? page.next : requested.at(-1)!.position);
    return !all || page.events.length === PAGE ? PAUSE_MS : NEXT_INTERVAL;
  }

  async #state(topic: string): Promise<State> {
    const { orm, appId, afterMs } = this.#options;
    const params = [afterMs, appId, topic];
    const [row] = await execute<State>(orm.em.fork(), STATE, params);
    if (row) return row;
    for (const table of ['heard', 'compared']) await execute(orm.em.fork(), begin(table), [appId, topic]);
    return this.#state(topic);
  }

  /** Moves the position, unless another replica has moved it; then the same page is compared once more. */
  async #advance(topic: string, from: string | null, to: string): Promise<void> {
    const { orm, appId } = this.#options;
    await execute(orm.em.fork(), ADVANCE, [to, appId, topic, from]);
  }

  /** Returns the events that a consumer should have but lacks, except abandoned ones. */
  async #missing(topic: string, events: readonly PublishedEvent[], receiving: Receiving): Promise<PublishedEvent[]> {
    const absent = await this.#absent(events, receiving);
    const missing = new Map<string, PublishedEvent>();
    for (const event of events) {
      if (!absent.has(event.eventId)) this.#requested.delete(event.eventId);
      else if (!missing.has(event.eventId) && !(await this.#isAbandoned(topic, event)))
        missing.set(event.eventId, event);
    }
    return [...missing.values()];
  }

  /** Returns the ids of the events that a consumer should have but lacks. */
  async #absent(events: readonly Compared[], { source, consumers }: Receiving): Promise<Set<string>> {
    const absent = new Set<string>();
    const isBounded = await hasHorizon(this.#options.orm.em.fork());
    for (const { name, order, types } of consumers) {
      const relevant = order === 'ordered' || types === 'all' ? events : events.filter((it) => types.includes(it.type));
      if (relevant.length === 0) continue;
      const rows = await execute<{ eventId: string }>(
        this.#options.orm.em.fork(),
        order === 'ordered' ? NOT_REACHED : `${NOT_HANDLED} ${isBounded ? NOT_TOO_OLD : ''}`,
        [JSON.stringify(relevant), name, name, ...(order === 'ordered' ? [source] : [])],
      );
      for (const { eventId } of rows) absent.add(eventId);
    }
    return absent;
  }

  async #isAbandoned(topic: string, event: PublishedEvent): Promise<boolean> {
    const { eventId, position } = event;
    if ((this.#requested.get(eventId) ?? 0) < MAX_REQUESTS_PER_EVENT) return false;
    const { orm, appId, log } = this.#options;
    await addMissing(orm.em.fork(), { appId, topic }, event);
    log.error(
      { eventId, position },
      'republished event does not arrive, no longer requesting it: check broker and subscription',
    );
    this.#requested.delete(eventId);
    return true;
  }

  /** Deletes the rows of abandoned events that have arrived after all. */
  async #forgetArrived(topic: string, receiving: Receiving): Promise<void> {
    const { orm, appId } = this.#options;
    const em = orm.em.fork();
    const abandoned = await findMissingAt(em, { appId, topic }, this.#lookedAt.get(topic) ?? FIRST_ID);
    this.#lookedAt.set(topic, abandoned.at(-1)?.eventId ?? FIRST_ID);
    if (abandoned.length === 0) return;
    const absent = await this.#absent(abandoned, receiving);
    const arrived = abandoned.map(({ eventId }) => eventId).filter((eventId) => !absent.has(eventId));
    if (arrived.length > 0) await deleteMissing(em, { appId, topic }, arrived);
  }
}

type Receiving = Pick<ReconciledTopic, 'source' | 'consumers'>;
type Compared = Pick<PublishedEvent, 'eventId' | 'type' | 'aggregateId' | 'sequence'>;

interface State {
  readonly position: string | null;
  readonly messageId: string | null;
  /** Nothing has been received for so long that nothing can be in transit. */
  readonly quiet: boolean;
}

const STATE = `
select position, message_id as "messageId", heard_at < clock_timestamp() - ? * interval '1 millisecond' as quiet
  from eventing.compared join eventing.heard using (app_id, topic) where app_id = ? and topic = ?`;
const begin = (table: string) => `insert into eventing.${table} (app_id, topic) values (?, ?) on conflict do nothing`;
const ADVANCE = `
update eventing.compared set position = ? where app_id = ? and topic = ? and position is not distinct from ?`;

const NOT_DEFERRED = `
select "eventId" from jsonb_to_recordset(?::jsonb) as e("eventId" uuid, "aggregateId" text, sequence bigint)
 where not exists (select from eventing.kept_delivery k where k.consumer = ? and k.event_id = e."eventId")`;
const NOT_HANDLED = `${NOT_DEFERRED}
   and not exists (select from eventing.inbox i where i.consumer = ? and i.event_id = e."eventId")`;
// A convergent consumer would refuse an older one. It was published again, perhaps for another app.
const NOT_TOO_OLD = `and e."eventId" >= (select first_id from eventing.horizon where name = 'inbox')`;
const NOT_REACHED = `${NOT_DEFERRED}
   and not exists (select from eventing.cursor c where c.consumer = ? and c.stream = ? and c.aggregate_id = e."aggregateId"
                      and c.last_sequence >= e.sequence)`;
