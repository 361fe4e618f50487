import { setTimeout as delay } from 'node:timers/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from './inbox.ts';
import type { Publisher } from './republish.ts';
import type { Sidecar } from './sidecar.ts';
import { execute } from './sql.ts';

/** One event of another system, as its subscriber finds it again. */
export interface LatestEvent {
  readonly source: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly eventId: string;
}

/** Another system that publishes a topic. */
export interface OtherPublisher extends Publisher {
  /** What it has published last; undefined when nothing yet. */
  latest(): Promise<LatestEvent | undefined>;
}

/** A topic that is listened to. */
export interface HeardTopic {
  readonly consumers?: readonly Pick<Consumer, 'name' | 'order'>[];
  /** Of another system's topic. Its own topics a system knows from its tables. */
  readonly publisher?: Pick<OtherPublisher, 'latest'>;
}

export interface HearingOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  readonly topics: Readonly<Record<string, HeardTopic>>;
  readonly sidecar: Pick<Sidecar, 'suspect' | 'suspects' | 'trust'>;
  /** How long a message may be under way. */
  readonly silenceMs: number;
  readonly log: { warn(fields: object, message: string): void };
}

interface Heard {
  at: number;
  notedAt: number;
  messageId?: string | undefined;
  timer?: NodeJS.Timeout | undefined;
}

/** When a topic was heard last is noted this often at most; milliseconds. */
const NOTE_MS = 2_000;
/** A message can be heard this long before the relay has noted that it sent it; milliseconds. */
const MARGIN_MS = 1_000;

/**
 * Watches whether what is published is heard: a subscription can be dead while its daprd and its app are in the best of health. It is dead
 * when a message of its topic has been under way for long, and none of the app's replicas has heard anything since.
 */
export class Hearing implements AsyncDisposable {
  readonly #options: HearingOptions;
  readonly #heard = new Map<string, Heard>();
  readonly #stop = new AbortController();
  /** Since daprd was restarted, on the database's clock: what was sent before says nothing about it. */
  #listeningSince: string | null = null;
  #loop: Promise<unknown> = Promise.resolve();

  constructor(options: HearingOptions) {
    this.#options = options;
  }

  /** Notes that daprd has delivered something of a topic, and which message if it could be read. Returns at once; never throws. */
  heard(topic: string, messageId?: string): void {
    this.#options.sidecar.trust(topic);
    const it = this.#heard.get(topic) ?? { at: 0, notedAt: Number.NEGATIVE_INFINITY };
    this.#heard.set(topic, it);
    it.at = performance.now();
    it.messageId = messageId ?? it.messageId;
    it.timer ??= setTimeout(() => void this.#note(topic), Math.max(0, it.notedAt + NOTE_MS - it.at)).unref();
  }

  /** Begins to watch; disposing ends it. */
  start(): this {
    this.#loop = Promise.all(Object.entries(this.#options.topics).map(([topic, it]) => this.#watch(topic, it)));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    for (const [topic, { timer }] of this.#heard) if (timer) await this.#note(topic);
  }

  /** In the database's own time: how long ago it was is all that this machine's clock is asked. */
  async #note(topic: string): Promise<void> {
    const { orm, appId } = this.#options;
    const it = this.#heard.get(topic)!;
    clearTimeout(it.timer);
    it.timer = undefined;
    it.notedAt = performance.now();
    // Its failure is not told: the next one notes it as well.
    await execute(orm.em.fork(), NOTE, [appId, topic, it.notedAt - it.at]).catch(() => undefined);
    await execute(orm.em.fork(), NOT_MISSED, [appId, topic]).catch(() => undefined);
    if (it.messageId) await execute(orm.em.fork(), NOTE_MESSAGE, [appId, topic, it.messageId]).catch(() => undefined);
  }

  async #watch(topic: string, { consumers = [], publisher }: HeardTopic): Promise<void> {
    const { silenceMs, sidecar, log } = this.#options;
    const { signal } = this.#stop;
    let said: LatestEvent | undefined;
    let before = '';
    for (; !signal.aborted; await delay(silenceMs / 2, undefined, { signal }).catch(() => undefined)) {
      try {
        const { at, unheard } = await this.#look(topic);
        const missed = publisher
          ? at === before && said !== undefined && !(await this.#knows(consumers, said))
          : unheard;
        before = at;
        if (missed) await this.#missed(topic);
        if (publisher && !missed) said = await publisher.latest();
        // Once in doubt, only what this very process hears is a proof: another replica may hear again while this one stays deaf.
        if (!missed && !sidecar.suspects(topic)) continue;
        if (!(await sidecar.suspect(topic, `what is published to ${topic} is not heard`))) continue;
        said = undefined;
        this.#listeningSince = await this.#now();
      } catch (error) {
        log.warn({ topic, err: error }, 'cannot tell now whether the subscription is alive');
      }
    }
  }

  /** When the topic was heard last, and whether a message of this system was sent long after that, and long ago. */
  async #look(topic: string): Promise<{ at: string; unheard: boolean }> {
    const { orm, appId, silenceMs } = this.#options;
    const em = orm.em.fork();
    await execute(em, BEGIN, [appId, topic]);
    const bounds = [this.#listeningSince, silenceMs];
    const [row] = await execute<{ at: string; unheard: boolean }>(em, LOOK, [...bounds, appId, topic]);
    return row!;
  }

  /** So that operators see it as well, until something is heard again; whatever becomes of that, the sidecar is seen to. */
  async #missed(topic: string): Promise<void> {
    const { orm, appId } = this.#options;
    await execute(orm.em.fork(), MISSED, [appId, topic]).catch(() => undefined);
  }

  async #now(): Promise<string> {
    const [row] = await execute<{ now: string }>(
      this.#options.orm.em.fork(),
      'select clock_timestamp()::text as now',
      [],
    );
    return row!.now;
  }

  async #knows(consumers: HeardTopic['consumers'] & object, event: LatestEvent): Promise<boolean> {
    const names = consumers.filter(({ order }) => order === 'ordered').map(({ name }) => name);
    const em = this.#options.orm.em.fork();
    for (const name of names) {
      const [row] = await execute<{ known: boolean }>(em, KNOWS, [
        ...[name, event.source, event.aggregateId, event.sequence],
        ...[name, event.eventId],
      ]);
      if (!row!.known) return false;
    }
    return true;
  }
}

const BEGIN = 'insert into eventing.heard (app_id, topic) values (?, ?) on conflict do nothing';
const NOTE = `
insert into eventing.heard as h (app_id, topic, heard_at) values (?, ?, clock_timestamp() - ? * interval '1 millisecond')
on conflict (app_id, topic) do update set heard_at = greatest(h.heard_at, excluded.heard_at)`;
const MISSED = `
update eventing.heard set missed_since = clock_timestamp() where app_id = ? and topic = ? and missed_since is null`;
const NOT_MISSED = `
update eventing.heard set missed_since = null where app_id = ? and topic = ? and missed_since is not null`;
const NOTE_MESSAGE = `
insert into eventing.compared (app_id, topic, message_id) values (?, ?, ?)
on conflict (app_id, topic) do update set message_id = excluded.message_id`;

// On the clock of one database. A message that is long back may have been heard here a moment before it was noted as sent.
const LOOK = `
select h.heard_at::text as at,
    case when after < until then
      exists (select from eventing.relayed r where r.topic = h.topic and r.relayed_at > after and r.relayed_at < until)
      or exists (select from eventing.published p where p.topic = h.topic and p.published_at > after
                    and p.relayed_at > after + ${MARGIN_MS} * interval '1 millisecond' and p.relayed_at < until)
    else false end as unheard
  from eventing.heard h,
    lateral (select greatest(h.heard_at, ?::timestamptz) as after,
                    clock_timestamp() - ? * interval '1 millisecond' as until) as w
 where h.app_id = ? and h.topic = ?`;

const KNOWS = `
select exists (select from eventing.cursor where consumer = ? and stream = ? and aggregate_id = ? and last_sequence >= ?)
    or exists (select from eventing.kept_delivery where consumer = ? and event_id = ?) as known`;
