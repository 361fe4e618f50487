import { setTimeout as delay } from 'node:timers/promises';
import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from '../consumer.ts';
import { execute } from '../sql.ts';
import type { Publisher } from './republish.ts';
import type { SidecarWatchdog } from './sidecar-watchdog.ts';

/** An event of another system, with what its subscriber needs to look it up. */
export interface LatestEvent {
  readonly source: string;
  readonly aggregateId: string;
  readonly sequence: number;
  readonly eventId: string;
}

/** Another system that publishes a topic. */
export interface OtherPublisher extends Publisher {
  /** Returns the event published last; undefined when there is none yet. */
  latest(): Promise<LatestEvent | undefined>;
}

/** A topic that this app receives. */
export interface WatchedTopic {
  readonly consumers?: readonly Pick<Consumer, 'name' | 'order'>[];
  /** Only for another system's topic; own topics are checked in the outbox tables. */
  readonly publisher?: Pick<OtherPublisher, 'latest'>;
}

export interface SubscriptionWatchdogOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  readonly topics: Readonly<Record<string, WatchedTopic>>;
  readonly sidecar: Pick<SidecarWatchdog, 'reportFailure' | 'isFailing' | 'reportSuccess'>;
  /** How long a message may be in transit; milliseconds. */
  readonly stallMs: number;
  readonly log: { warn(fields: object, message: string): void };
}

interface LastReceived {
  at: number;
  recordedAt: number;
  messageId?: string | undefined;
  timer?: NodeJS.Timeout | undefined;
}

/** Shortest interval between two records of a topic's last delivery; milliseconds. */
const RECORD_MS = 2_000;
/** A message can be received this long before the relay has recorded it as sent; milliseconds. */
const MARGIN_MS = 1_000;

/**
 * Detects stalled subscriptions, which daprd's and the app's health checks do not show. A subscription is stalled when a
 * message of its topic has been in transit for long and no replica of the app has received anything since.
 */
export class SubscriptionWatchdog implements AsyncDisposable {
  readonly #options: SubscriptionWatchdogOptions;
  readonly #received = new Map<string, LastReceived>();
  readonly #stop = new AbortController();
  /** When daprd was restarted, on the database's clock. Messages sent earlier prove nothing about the new subscription. */
  #subscribedSince: string | null = null;
  #loop: Promise<unknown> = Promise.resolve();

  constructor(options: SubscriptionWatchdogOptions) {
    this.#options = options;
  }

  /**
   * Records that daprd delivered a message of a topic, with its id if it could be parsed. Returns immediately; never
   * throws.
   */
  received(topic: string, messageId?: string): void {
    this.#options.sidecar.reportSuccess(topic);
    const it = this.#received.get(topic) ?? { at: 0, recordedAt: Number.NEGATIVE_INFINITY };
    this.#received.set(topic, it);
    it.at = performance.now();
    it.messageId = messageId ?? it.messageId;
    it.timer ??= setTimeout(() => void this.#record(topic), Math.max(0, it.recordedAt + RECORD_MS - it.at)).unref();
  }

  /** Starts watching, until disposed. */
  start(): this {
    this.#loop = Promise.all(Object.entries(this.#options.topics).map(([topic, it]) => this.#watch(topic, it)));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    for (const [topic, { timer }] of this.#received) if (timer) await this.#record(topic);
  }

  /** Records the last delivery on the database's clock; this machine's clock only measures how long ago it was. */
  async #record(topic: string): Promise<void> {
    const { orm, appId } = this.#options;
    const it = this.#received.get(topic)!;
    clearTimeout(it.timer);
    it.timer = undefined;
    it.recordedAt = performance.now();
    // Failures are ignored, because the next record has the same effect.
    await execute(orm.em.fork(), RECORD, [appId, topic, it.recordedAt - it.at]).catch(() => undefined);
    await execute(orm.em.fork(), CLEAR_STALLED, [appId, topic]).catch(() => undefined);
    if (it.messageId) await execute(orm.em.fork(), RECORD_MESSAGE, [appId, topic, it.messageId]).catch(() => undefined);
  }

  async #watch(topic: string, { consumers = [], publisher }: WatchedTopic): Promise<void> {
    const { stallMs, sidecar, log } = this.#options;
    const { signal } = this.#stop;
    let latest: LatestEvent | undefined;
    let lastAt = '';
    for (; !signal.aborted; await delay(stallMs / 2, undefined, { signal }).catch(() => undefined)) {
      try {
        const { at, pending } = await this.#check(topic);
        const stalled = publisher
          ? at === lastAt && latest !== undefined && !(await this.#hasReceived(consumers, latest))
          : pending;
        lastAt = at;
        if (stalled) await this.#recordStalled(topic);
        if (publisher && !stalled) latest = await publisher.latest();
        // Once a topic fails, only a delivery to this process clears it: another replica may recover while this one does not.
        if (!stalled && !sidecar.isFailing(topic)) continue;
        if (!(await sidecar.reportFailure(topic, `messages published to ${topic} are not received`))) continue;
        latest = undefined;
        this.#subscribedSince = await this.#now();
      } catch (error) {
        log.warn({ topic, err: error }, 'cannot check the subscription, retrying');
      }
    }
  }

  /**
   * Returns when the topic was last received, and whether a message of this system sent after that has been in transit
   * too long.
   */
  async #check(topic: string): Promise<{ at: string; pending: boolean }> {
    const { orm, appId, stallMs } = this.#options;
    const em = orm.em.fork();
    await execute(em, BEGIN, [appId, topic]);
    const bounds = [this.#subscribedSince, stallMs];
    const [row] = await execute<{ at: string; pending: boolean }>(em, CHECK, [...bounds, appId, topic]);
    return row!;
  }

  /** Records the stall for operators, until the next delivery. A failure must not prevent the sidecar's restart. */
  async #recordStalled(topic: string): Promise<void> {
    const { orm, appId } = this.#options;
    await execute(orm.em.fork(), RECORD_STALLED, [appId, topic]).catch(() => undefined);
  }

  async #now(): Promise<string> {
    const [row] = await execute<{ now: string }>(
      this.#options.orm.em.fork(),
      'select clock_timestamp()::text as now',
      [],
    );
    return row!.now;
  }

  async #hasReceived(consumers: WatchedTopic['consumers'] & object, event: LatestEvent): Promise<boolean> {
    const names = consumers.filter(({ order }) => order === 'ordered').map(({ name }) => name);
    const em = this.#options.orm.em.fork();
    for (const name of names) {
      const [row] = await execute<{ known: boolean }>(em, HAS_RECEIVED, [
        ...[name, event.source, event.aggregateId, event.sequence],
        ...[name, event.eventId],
      ]);
      if (!row!.known) return false;
    }
    return true;
  }
}

const BEGIN = 'insert into eventing.heard (app_id, topic) values (?, ?) on conflict do nothing';
const RECORD = `
insert into eventing.heard as h (app_id, topic, heard_at) values (?, ?, clock_timestamp() - ? * interval '1 millisecond')
on conflict (app_id, topic) do update set heard_at = greatest(h.heard_at, excluded.heard_at)`;
const RECORD_STALLED = `
update eventing.heard set missed_since = clock_timestamp() where app_id = ? and topic = ? and missed_since is null`;
const CLEAR_STALLED = `
update eventing.heard set missed_since = null where app_id = ? and topic = ? and missed_since is not null`;
const RECORD_MESSAGE = `
insert into eventing.compared (app_id, topic, message_id) values (?, ?, ?)
on conflict (app_id, topic) do update set message_id = excluded.message_id`;

// Compares moments of one database's clock. A confirmed message may have been received here shortly before it was recorded
// as sent.
const CHECK = `
select h.heard_at::text as at,
    case when after < until then
      exists (select from eventing.relayed r where r.topic = h.topic and r.relayed_at > after and r.relayed_at < until)
      or exists (select from eventing.published p where p.topic = h.topic and p.published_at > after
                    and p.relayed_at > after + ${MARGIN_MS} * interval '1 millisecond' and p.relayed_at < until)
    else false end as pending
  from eventing.heard h,
    lateral (select greatest(h.heard_at, ?::timestamptz) as after,
                    clock_timestamp() - ? * interval '1 millisecond' as until) as w
 where h.app_id = ? and h.topic = ?`;

const HAS_RECEIVED = `
select exists (select from eventing.cursor where consumer = ? and stream = ? and aggregate_id = ? and last_sequence >= ?)
    or exists (select from eventing.kept_delivery where consumer = ? and event_id = ?) as known`;
