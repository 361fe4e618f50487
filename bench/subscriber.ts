// A subscriber in a process of its own, so that its CPU time can be read: `node bench/subscriber.ts <way>`. Over its IPC
// channel it receives after how many deliveries to report, and reports the time of each.
import type { EntityManager } from '@mikro-orm/postgresql';
import { text } from 'co-body';
import Koa, { type Middleware } from 'koa';
import { Pool } from 'pg';
import { type ReceivedEvent, sourceOf } from '#eventing/cloud-event';
import type { Subscriber } from '#eventing/receiver';
import { Recorder } from '#eventing/recorder';
import { execute } from '#eventing/sql';
import { subscribe } from '#eventing-host/subscribe';
import { createApi } from '#http/http';
import { listening, openListeners } from '#http/open';
import { common, subscriberSettings } from '#process/common-settings';
import { readConfig } from '#process/config';
import { connect } from '#process/database';
import { daprCheck, databaseCheck, Health } from '#process/health';
import { run } from '#process/run';
import { SYSTEM } from './events.ts';
import { TOPIC } from './harness.ts';

/** As many as the workers have. */
const CONNECTIONS = 4;
const EFFECT = 'insert into effect (event_id) values';
const INBOX = 'insert into floor_inbox (consumer, event_id) values';
const ONCE = 'on conflict do nothing';

let answers = 0;
let reports: readonly number[] = [];
process.on('message', (counts: number[]) => {
  reports = counts;
});

const counted =
  (deliver: Middleware): Middleware =>
  async (ctx, next) => {
    await deliver(ctx, next);
    if (reports.includes(++answers)) process.send!({ answers, at: performance.timeOrigin + performance.now() });
  };

interface Ids {
  readonly id: string;
  readonly eventid: string;
}

/** Handlers in bare Koa, which the others are compared with. */
const bare: Record<string, () => Promise<(ids: Ids) => Promise<unknown>>> = {
  /** One transaction in pg: an inbox row and the effect. */
  floor: async () => {
    const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: CONNECTIONS });
    return async ({ eventid }) => {
      const client = await pool.connect();
      await client.query('begin');
      const { rowCount } = await client.query({
        name: 'inbox',
        text: `${INBOX} ($1, $2) ${ONCE}`,
        values: ['floor', eventid],
      });
      if (rowCount) await client.query({ name: 'effect', text: `${EFFECT} ($1)`, values: [eventid] });
      await client.query('commit');
      client.release();
    };
  },
  /** The same transaction in MikroORM. */
  'orm-floor': async () => {
    const { DATABASE_URL: url } = readConfig({ DATABASE_URL: common.DATABASE_URL });
    const orm = await connect({ url, name: way, pool: { max: CONNECTIONS } });
    return ({ eventid }) =>
      orm.em.fork().transactional(async (em) => {
        const rows = await execute(em, `${INBOX} (?, ?) ${ONCE} returning event_id`, ['floor', eventid]);
        if (rows.length > 0) await execute(em, `${EFFECT} (?)`, [eventid]);
      });
  },
  /** One statement in pg. */
  confirm: async () => {
    const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: CONNECTIONS });
    const text = 'insert into floor_confirmed (id) values ($1) on conflict do nothing';
    return ({ id }) => pool.query({ name: 'confirm', text, values: [id] });
  },
};

const way = process.argv[2]!;
if (way in bare) await startBare(await bare[way]!());
else await run(way, startSubscriber);

async function startBare(handle: (ids: Ids) => Promise<unknown>): Promise<void> {
  const app = new Koa();
  const receive = counted(async (ctx) => {
    const { data_base64: wrapped } = JSON.parse(await text(ctx));
    const event = JSON.parse(Buffer.from(wrapped, 'base64').toString());
    // Dapr's outbox makes events of its own around the state.
    await handle({ id: event.id, eventid: event.eventid ?? event.data.eventid });
    ctx.body = { status: 'SUCCESS' };
  });
  app.use(async (ctx, next) => {
    if (ctx.path === '/healthz') ctx.body = 'ok';
    else await receive(ctx, next);
  });
  app.listen(Number(process.env.SIDECAR_PORT), '127.0.0.1');
}

/** A consumer or the recorder of this system, as the workers run them. */
async function startSubscriber(context: Parameters<Parameters<typeof run>[1]>[0]): Promise<void> {
  const { stack, log } = context;
  const { DATABASE_URL, APP_API_TOKEN } = common;
  const config = readConfig({ ...listening, ...subscriberSettings, DATABASE_URL, APP_API_TOKEN });
  const orm = await connect({ url: config.DATABASE_URL, name: way, pool: { max: CONNECTIONS } });
  stack.defer(() => orm.close(true));
  const effect = async (em: EntityManager, { eventId }: ReceivedEvent): Promise<void> =>
    void (await execute(em, `${EFFECT} (?)`, [eventId]));
  const source = sourceOf(SYSTEM);
  const subscribers: Record<string, Subscriber> = {
    convergent: { source, consumers: [{ name: way, order: 'convergent', types: 'all', handle: effect }] },
    ordered: { source, consumers: [{ name: way, order: 'ordered', types: 'all', handle: effect }] },
    recorder: { source, recorder: new Recorder(orm) },
  };
  const topics = { [TOPIC]: subscribers[way]! };
  const health = new Health({ database: databaseCheck(orm), dapr: daprCheck({ port: config.DAPR_HTTP_PORT }) });
  const api = createApi({
    title: way,
    version: '1.0.0',
    description: 'A subscriber of the bench.',
    routes: [],
    deliveries: counted(subscribe({ stack, log, orm, system: SYSTEM, appId: process.env.APP_ID!, topics, config })),
    authenticate: async () => undefined,
    appToken: config.APP_API_TOKEN,
    orm,
    log,
    health,
  });
  await openListeners({ ...context, api, health, config });
}
