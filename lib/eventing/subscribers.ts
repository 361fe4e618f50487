import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { request } from 'undici';
import { z } from 'zod';
import { execute } from './sql.ts';

/** What a sidecar says of itself. https://docs.dapr.io/reference/api/metadata_api/ */
const metadata = z.object({
  runtimeVersion: z.string().default('unknown'),
  components: z.array(z.object({ name: z.string(), type: z.string() })).default([]),
  subscriptions: z
    .array(z.object({ pubsubname: z.string(), topic: z.string() }))
    .nullish()
    .transform((them) => (them ?? []).map(({ pubsubname, topic }) => ({ component: pubsubname, topic }))),
});

export type SidecarReport = z.output<typeof metadata>;

export interface SidecarReportsOptions {
  readonly orm: MikroORM;
  readonly appId: string;
  /** daprd's HTTP port on this machine. */
  readonly port: number;
  /** The credential that daprd asks for (its own `DAPR_API_TOKEN`). */
  readonly apiToken: string;
  readonly everyMs?: number;
}

const ANSWER_TIMEOUT_MS = 2_000;
const EVERY_MS = 30_000;
const SOON_MS = 2_000;

/**
 * Notes in the database what this process's sidecar has loaded, for operators to compare with what it should have: a sidecar reads most of it
 * at its start only, and without a word about what it does not find. Nobody has to be let into the pods for it.
 */
export class SidecarReports implements AsyncDisposable {
  readonly #options: SidecarReportsOptions;
  readonly #replica: string;
  readonly #stop = new AbortController();
  #loop: Promise<unknown> = Promise.resolve();

  constructor(options: SidecarReportsOptions) {
    this.#options = options;
    this.#replica = `${hostname()}:${options.port}`;
  }

  /** Begins to report; disposing ends it, and takes the report back. */
  start(): this {
    this.#loop = this.#run();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await this.#execute(FORGET, [this.#options.appId, this.#replica]).catch(() => undefined);
  }

  /** A report that cannot be made is not told: the last one grows old, and readiness says why. */
  async #run(): Promise<void> {
    const { appId, everyMs = EVERY_MS } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const isMade = await this.#ask(signal)
        .then((report) => this.#execute(REPORT, [appId, this.#replica, JSON.stringify(report)]))
        .then(
          () => true,
          () => false,
        );
      // A sidecar starts about when its app does.
      await delay(isMade ? everyMs : SOON_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #ask(signal: AbortSignal): Promise<SidecarReport> {
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

/** An app beside this system's database: what it hears, and what its sidecars have loaded. */
export interface Subscriber {
  readonly appId: string;
  readonly topics: readonly {
    readonly topic: string;
    readonly heardAt: string;
    /** Since when it has been known that something was published there and not heard; null when nothing was. */
    readonly missedSince: string | null;
    /** Since when something that this system has published there has not been heard; it may be on its way. Null when nothing is known of. */
    readonly unheardSince: string | null;
  }[];
  readonly sidecars: readonly (SidecarReport & { readonly replica: string; readonly reportedAt: string })[];
}

/** All apps that have ever heard something beside this database, or have a sidecar that reports, by name. */
export async function findSubscribers(em: EntityManager): Promise<Subscriber[]> {
  const rows = await execute<{ subscriber: Subscriber }>(em, SUBSCRIBERS);
  return rows.map(({ subscriber }) => subscriber);
}

// Pods that were killed could not take theirs back.
const REPORT = `
with gone as (
  delete from eventing.sidecar where reported_at < clock_timestamp() - interval '10 minutes'
)
insert into eventing.sidecar (app_id, replica, report) values (?, ?, ?::jsonb)
on conflict (app_id, replica) do update set report = excluded.report, reported_at = clock_timestamp()`;
const FORGET = 'delete from eventing.sidecar where app_id = ? and replica = ?';

// However many are on their way, the newest tell (ids grow with time); of those that came back, the first since then. A message is often heard
// a moment before it is noted as sent.
const SENT_SINCE = "relayed_at > h.heard_at + interval '1 second'";
const UNHEARD = `least(
  (select min(relayed_at) from (select topic, relayed_at from eventing.relayed order by id desc limit 200) newest
    where topic = h.topic and ${SENT_SINCE}),
  (select relayed_at from eventing.published
    where topic = h.topic and published_at > h.heard_at and ${SENT_SINCE} order by published_at limit 1))`;
const iso = (column: string) => `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
const SUBSCRIBERS = `
select jsonb_build_object(
    'appId', app_id,
    'topics', (select coalesce(jsonb_agg(jsonb_build_object('topic', topic, 'heardAt', ${iso('heard_at')}, 'missedSince', ${iso('missed_since')}, 'unheardSince', ${iso(UNHEARD)}) order by topic), '[]')
                 from eventing.heard h where h.app_id = app.app_id),
    'sidecars', (select coalesce(jsonb_agg(report || jsonb_build_object('replica', replica, 'reportedAt', ${iso('reported_at')}) order by replica), '[]')
                   from eventing.sidecar s where s.app_id = app.app_id)) as subscriber
  from (select app_id from eventing.heard union select app_id from eventing.sidecar) app order by app_id`;
