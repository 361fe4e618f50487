import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { request } from 'undici';
import { z } from 'zod';
import { execute } from '../sql.ts';

/** Metadata reported by a sidecar. https://docs.dapr.io/reference/api/metadata_api/ */
const metadata = z.object({
  runtimeVersion: z.string().default('unknown'),
  components: z.array(z.object({ name: z.string(), type: z.string() })).default([]),
  subscriptions: z
    .array(z.object({ pubsubname: z.string(), topic: z.string() }))
    .nullish()
    .transform((list) => (list ?? []).map(({ pubsubname, topic }) => ({ component: pubsubname, topic }))),
});

export type SidecarStatus = z.output<typeof metadata>;

export interface SidecarStatusReporterOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  /** daprd's HTTP port on this machine. */
  readonly port: number;
  /** The API token that daprd requires (its own `DAPR_API_TOKEN`). */
  readonly apiToken: string;
  /** Milliseconds between two reports (default 30 s). */
  readonly everyMs?: number;
}

const ANSWER_TIMEOUT_MS = 2_000;
const EVERY_MS = 30_000;
const RETRY_MS = 2_000;

/**
 * Records in the database what this process's sidecar has loaded, for operators to compare with what it should have loaded.
 * A sidecar reads most of its resources only at its start and logs nothing about missing ones. With the record in the
 * database operators need no access to the pods.
 */
export class SidecarStatusReporter implements AsyncDisposable {
  readonly #options: SidecarStatusReporterOptions;
  readonly #replica: string;
  readonly #stop = new AbortController();
  #loop: Promise<unknown> = Promise.resolve();

  constructor(options: SidecarStatusReporterOptions) {
    this.#options = options;
    this.#replica = `${hostname()}:${options.port}`;
  }

  /** Starts reporting, until disposed; disposing also deletes the report. */
  start(): this {
    this.#loop = this.#run();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await this.#execute(DELETE_REPORT, [this.#options.appId, this.#replica]).catch(() => undefined);
  }

  /**
   * Failures are not logged: readiness shows their cause, and the age of the last report shows that it is outdated.
   */
  async #run(): Promise<void> {
    const { appId, everyMs = EVERY_MS } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const isReported = await this.#readMetadata(signal)
        .then((metadata) => this.#execute(REPORT, [appId, this.#replica, JSON.stringify(metadata)]))
        .then(
          () => true,
          () => false,
        );
      // Retried soon, because the sidecar may still be starting.
      await delay(isReported ? everyMs : RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #readMetadata(signal: AbortSignal): Promise<SidecarStatus> {
    const { port, apiToken } = this.#options;
    const { statusCode, body } = await request(`http://127.0.0.1:${port}/v1.0/metadata`, {
      headers: { 'dapr-api-token': apiToken },
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: ANSWER_TIMEOUT_MS,
      reset: true,
      signal,
    });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`daprd answered ${statusCode}`);
    return metadata.parse(JSON.parse(text));
  }

  #execute(sql: string, params: unknown[]): Promise<unknown> {
    return execute(this.#options.orm.em.fork(), sql, params);
  }
}

/** An app that uses this system's database: the topics that it receives, and what its sidecars have loaded. */
export interface SubscriberStatus {
  readonly appId: string;
  readonly topics: readonly {
    readonly topic: string;
    readonly lastReceivedAt: string;
    /** When the subscription was found to be stalled; null when it is not. */
    readonly stalledSince: string | null;
    /** Since when a message of this system has not been received; it may be in transit. Null when none is known. */
    readonly pendingSince: string | null;
  }[];
  readonly sidecars: readonly (SidecarStatus & { readonly replica: string; readonly reportedAt: string })[];
}

/** Lists all apps that have ever received a topic with this database, or whose sidecar reports, by name. */
export async function findSubscribers(em: EntityManager): Promise<SubscriberStatus[]> {
  const rows = await execute<{ subscriber: SubscriberStatus }>(em, SUBSCRIBERS);
  return rows.map(({ subscriber }) => subscriber);
}

// Deletes old reports as well, because killed pods could not delete theirs.
const REPORT = `
with deleted as (
  delete from eventing.sidecar where reported_at < clock_timestamp() - interval '10 minutes'
)
insert into eventing.sidecar (app_id, replica, report) values (?, ?, ?::jsonb)
on conflict (app_id, replica) do update set report = excluded.report, reported_at = clock_timestamp()`;
const DELETE_REPORT = 'delete from eventing.sidecar where app_id = ? and replica = ?';

// Reads at most the 200 newest messages in transit (ids grow with time), and the first confirmed one since the last
// delivery. Margin of 1 s, because a message can be received before it is recorded as sent.
const SENT_SINCE = "relayed_at > h.heard_at + interval '1 second'";
const PENDING_SINCE = `least(
  (select min(relayed_at) from (select topic, relayed_at from eventing.relayed order by id desc limit 200) newest
    where topic = h.topic and ${SENT_SINCE}),
  (select relayed_at from eventing.published
    where topic = h.topic and published_at > h.heard_at and ${SENT_SINCE} order by published_at limit 1))`;
const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
const SUBSCRIBERS = `
select jsonb_build_object(
    'appId', app_id,
    'topics', (select coalesce(jsonb_agg(jsonb_build_object('topic', topic, 'lastReceivedAt', ${iso('heard_at')}, 'stalledSince', ${iso('missed_since')}, 'pendingSince', ${iso(PENDING_SINCE)}) order by topic), '[]')
                 from eventing.heard h where h.app_id = app.app_id),
    'sidecars', (select coalesce(jsonb_agg(report || jsonb_build_object('replica', replica, 'reportedAt', ${iso('reported_at')}) order by replica), '[]')
                   from eventing.sidecar s where s.app_id = app.app_id)) as subscriber
  from (select app_id from eventing.heard union select app_id from eventing.sidecar) app order by app_id`;
