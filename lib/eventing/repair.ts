import { setTimeout as delay } from 'node:timers/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from './inbox.ts';
import type { PublishedEvent, Publisher } from './republish.ts';
import { execute } from './sql.ts';

/** A topic whose consumers are to get everything that was published there. */
export interface RepairedTopic {
  /** The CloudEvents source that speaks there. */
  readonly source: string;
  readonly consumers: readonly Pick<Consumer, 'name' | 'order' | 'types'>[];
  readonly publisher: Publisher;
}

export interface RepairOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  readonly topics: Readonly<Record<string, RepairedTopic>>;
  /** How long after it has come back to its publisher an event may still be on its way here. */
  readonly afterMs: number;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** Events compared at once. */
const PAGE = 500;
/** Events asked for at once, and before the next ones; milliseconds. */
const ASK = 100;
const PAUSE_MS = 1_000;
const LATER = Number.POSITIVE_INFINITY;
const MOST_ASKED = 10_000;
/** What was sent again so often, to somebody who hears, will not arrive. */
const TIMES = 3;

/**
 * Finds what was published and never arrived: a broker can lose a message after its publisher has heard it back. What was published is
 * compared with what the consumers know, in the order in which it came back, and asked for again.
 *
 * Only what came back before the message that was heard last counts: what is later may be on its way. Where nothing has been heard
 * for long, that would be nothing; then the oldest is asked for alone. It arrives, and shows what is missing before it.
 *
 * What is asked for is published anew, and so compared again in its turn: it is not forgotten when it is lost as well.
 */
export class Repair implements AsyncDisposable {
  readonly #options: RepairOptions;
  readonly #asked = new Map<string, number>();
  readonly #stop = new AbortController();
  #loops: Promise<unknown> = Promise.resolve();

  constructor(options: RepairOptions) {
    this.#options = options;
  }

  /** Begins to compare; disposing ends it. An app that is new begins with what is published from now on. */
  start(): this {
    this.#loops = Promise.all(Object.entries(this.#options.topics).map(([topic, it]) => this.#watch(topic, it)));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loops;
  }

  async #watch(topic: string, it: RepairedTopic): Promise<void> {
    const { afterMs, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = afterMs / 2;
      try {
        pause = Math.min(pause, await this.#look(topic, it));
      } catch (error) {
        log.warn({ topic, err: error }, 'cannot tell now whether all that was published has arrived');
      }
      await delay(pause, undefined, { signal }).catch(() => undefined);
    }
  }

  /** @returns after how long it is worth looking again, milliseconds */
  async #look(topic: string, { source, consumers, publisher }: RepairedTopic): Promise<number> {
    const { afterMs: ageMs, log } = this.#options;
    const state = await this.#state(topic);
    const before = state.quiet ? undefined : (state.messageId ?? undefined);
    const page = await publisher.published({ after: state.position ?? undefined, before, ageMs, limit: PAGE });
    const missing = await this.#missing(page.events, { source, consumers });
    if (missing.length === 0) {
      await this.#advance(topic, state.position, page.next);
      return page.events.length === PAGE ? 0 : LATER;
    }
    const asked = missing.slice(0, state.quiet ? 1 : ASK);
    const sent = await publisher.republish(asked.map(({ eventId }) => eventId));
    if (sent > 0) log.warn({ topic, events: sent }, 'asked for what was published and has not arrived');
    if (state.quiet) return LATER;
    // Another replica may have compared what would take them out again. To forget one costs another try.
    if (this.#asked.size > MOST_ASKED) this.#asked.clear();
    for (const { eventId } of asked) this.#asked.set(eventId, (this.#asked.get(eventId) ?? 0) + 1);
    const all = asked.length === missing.length;
    await this.#advance(topic, state.position, all ? page.next : asked.at(-1)!.position);
    return !all || page.events.length === PAGE ? PAUSE_MS : LATER;
  }

  async #state(topic: string): Promise<State> {
    const { orm, appId, afterMs } = this.#options;
    const params = [afterMs, appId, topic];
    const [row] = await execute<State>(orm.em.fork(), STATE, params);
    if (row) return row;
    for (const table of ['heard', 'compared']) await execute(orm.em.fork(), begin(table), [appId, topic]);
    return this.#state(topic);
  }

  /** Unless another replica has: then it compares the same once more. */
  async #advance(topic: string, from: string | null, to: string): Promise<void> {
    const { orm, appId } = this.#options;
    await execute(orm.em.fork(), ADVANCE, [to, appId, topic, from]);
  }

  /** Those of the events that a consumer should have and has not, and that it is worth asking for. */
  async #missing(
    events: readonly PublishedEvent[],
    { source, consumers }: Pick<RepairedTopic, 'source' | 'consumers'>,
  ): Promise<PublishedEvent[]> {
    const unknown = new Set<string>();
    for (const { name, order, types } of consumers) {
      const concern = order === 'ordered' || types === 'all' ? events : events.filter((it) => types.includes(it.type));
      if (concern.length === 0) continue;
      const rows = await execute<{ eventId: string }>(
        this.#options.orm.em.fork(),
        order === 'ordered' ? NOT_REACHED : NOT_HANDLED,
        [JSON.stringify(concern), name, name, ...(order === 'ordered' ? [source] : [])],
      );
      for (const { eventId } of rows) unknown.add(eventId);
    }
    const missing = new Map<string, PublishedEvent>();
    for (const event of events) {
      if (!unknown.has(event.eventId)) this.#asked.delete(event.eventId);
      else if (!missing.has(event.eventId) && !this.#isHopeless(event)) missing.set(event.eventId, event);
    }
    return [...missing.values()];
  }

  #isHopeless({ eventId, position }: PublishedEvent): boolean {
    if ((this.#asked.get(eventId) ?? 0) < TIMES) return false;
    this.#options.log.error(
      { eventId, position },
      'was sent again and again and does not arrive: it is not asked for any more',
    );
    this.#asked.delete(eventId);
    return true;
  }
}

interface State {
  readonly position: string | null;
  readonly messageId: string | null;
  /** Nothing has been heard for so long that nothing can be on its way. */
  readonly quiet: boolean;
}

const STATE = `
select position, message_id as "messageId", heard_at < clock_timestamp() - ? * interval '1 millisecond' as quiet
  from eventing.compared join eventing.heard using (app_id, topic) where app_id = ? and topic = ?`;
const begin = (table: string) => `insert into eventing.${table} (app_id, topic) values (?, ?) on conflict do nothing`;
const ADVANCE = `
update eventing.compared set position = ? where app_id = ? and topic = ? and position is not distinct from ?`;

const UNKEPT = `
select "eventId" from jsonb_to_recordset(?::jsonb) as e("eventId" uuid, "aggregateId" text, sequence bigint)
 where not exists (select from eventing.kept_delivery k where k.consumer = ? and k.event_id = e."eventId")`;
const NOT_HANDLED = `${UNKEPT}
   and not exists (select from eventing.inbox i where i.consumer = ? and i.event_id = e."eventId")`;
const NOT_REACHED = `${UNKEPT}
   and not exists (select from eventing.cursor c where c.consumer = ? and c.stream = ? and c.aggregate_id = e."aggregateId"
                      and c.last_sequence >= e.sequence)`;
