// Measures what subscribers handle a second, behind a real daprd with JetStream, or called directly (`-- --direct`): a bare
// inbox transaction in pg, this project's consumers and its recorder, in turns: `node bench/consume.ts`.
import { once } from 'node:events';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Client } from 'pg';
import { Pool } from 'undici';
import { Progress } from '../local/progress.ts';
import { freePort } from '../local/topology/ports.ts';
import { type Broker, openBroker } from './broker.ts';
import { cpuSeconds, residentMiB } from './cpu.ts';
import { makeEvents, type StoredMessage, storeEvents } from './events.ts';
import { benchFolder, DAPR_TOKEN, launch, machine, median, openDatabase, TOPIC, until } from './harness.ts';
import { APP_TOKEN, startSubscriberSidecar } from './sidecar.ts';

const { values } = parseArgs({
  options: {
    direct: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    messages: { type: 'string', default: '3000' },
    only: { type: 'string', default: '' },
  },
});
const [ROUNDS, MESSAGES] = [Number(values.rounds), Number(values.messages)];
/** Handled before the time counts, while the code is compiled. */
const WARM_UP = 1000;
const APP_ID = 'subscriber';

interface Way {
  readonly name: string;
  readonly program: 'floor' | 'convergent' | 'ordered' | 'recorder';
  readonly mode: 'single' | 'parallel';
}
const single: Way[] = [
  { name: 'floor: pg inbox', program: 'floor', mode: 'single' },
  { name: 'convergent consumer', program: 'convergent', mode: 'single' },
  { name: 'ordered consumer', program: 'ordered', mode: 'single' },
  { name: 'recorder', program: 'recorder', mode: 'single' },
];
const parallel: Way[] = [
  { name: 'recorder, parallel', program: 'recorder', mode: 'parallel' },
  { name: 'floor, parallel', program: 'floor', mode: 'parallel' },
];
const ways = [...single, ...parallel].filter(({ name, program }) => program === 'floor' || name.includes(values.only));

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const folder = await benchFolder(stack);
const { database, appUrl, pid: postgresPid } = await openDatabase(folder, stack, progress);
await database.query(`
  create table effect (id bigint generated always as identity primary key, event_id uuid not null);
  create table floor_inbox (consumer text, event_id uuid, handled_at timestamptz not null default clock_timestamp(), primary key (consumer, event_id));
  grant select, insert on effect, floor_inbox to bench_app`);
const broker = values.direct ? undefined : await openBroker(folder, stack, progress);

interface Result {
  readonly rate: number;
  /** CPU milliseconds per delivery, by process. */
  readonly cpu: Readonly<Record<string, number | undefined>>;
  readonly residentMiB: number | undefined;
}
const results = new Map<string, Result[]>();
for (let round = 1; round <= ROUNDS; round++)
  for (const way of ways) {
    const result = await turn(way);
    results.set(way.name, [...(results.get(way.name) ?? []), result]);
    progress.print(`round ${round}, ${way.name}: ${Math.round(result.rate)} deliveries/s`);
  }

const floors = results.get(single[0]!.name)!;
const rows = [...results].map(([name, all]) => {
  const ratio = median(all.map(({ rate }, round) => rate / floors[round]!.rate));
  const cpu = Object.keys(all[0]!.cpu).map((it) => `${it} ${median(all.map((each) => each.cpu[it] ?? 0)).toFixed(2)}`);
  const range = `${Math.round(Math.min(...all.map((it) => it.rate)))} to ${Math.round(Math.max(...all.map((it) => it.rate)))}`;
  return `| ${name} | ${Math.round(median(all.map((it) => it.rate)))} | ${range} | ${ratio.toFixed(2)} | ${cpu.join(', ')} | ${Math.round(all.at(-1)!.residentMiB ?? 0)} |`;
});
progress.line(`
${machine()};
${values.direct ? 'called directly' : 'daprd and JetStream'}, turns of ${MESSAGES} deliveries, medians of ${ROUNDS} rounds; ratios within a round

| subscriber | deliveries a second | range | of the floor | CPU ms per delivery | MiB |
|---|---|---|---|---|---|
${rows.join('\n')}`);

/** Lets one subscriber handle messages that are all in the topic when it starts. */
async function turn(way: Way): Promise<Result> {
  await using processes = new AsyncDisposableStack();
  const messages = makeEvents(WARM_UP + MESSAGES);
  await database.query(`truncate effect, floor_inbox, eventing.event_store, eventing.inbox, eventing.cursor, eventing.kept_delivery,
    eventing.outbox, eventing.relayed, eventing.published`);
  await storeEvents(database, messages);
  const [appPort, daprPort] = [await freePort(), await freePort()];
  const app = launch(
    processes,
    process.execPath,
    [join(import.meta.dirname, 'subscriber.ts'), way.program],
    {
      APP_ID,
      DATABASE_URL: appUrl,
      SIDECAR_PORT: `${appPort}`,
      OPERATIONS_PORT: '0',
      DAPR_HTTP_PORT: `${daprPort}`,
      DAPR_API_TOKEN: DAPR_TOKEN,
      APP_API_TOKEN: APP_TOKEN,
    },
    ['ignore', 'ignore', 'inherit', 'ipc'],
  );
  app.send([WARM_UP, messages.length]);
  await until(() => fetch(`http://127.0.0.1:${appPort}/healthz`));
  const pids: Record<string, number> = { app: app.pid!, postgres: postgresPid };
  if (broker)
    Object.assign(pids, await feedFromBroker(processes, broker, messages, { appPort, daprPort, mode: way.mode }));
  const direct = broker ? undefined : post(appPort, messages, way.mode === 'single' ? 1 : 16);
  const cpu = () => Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuSeconds(pid)]));
  const begun = await answered(app, WARM_UP);
  const before = cpu();
  const ended = await answered(app, messages.length);
  const after = cpu();
  const memory = residentMiB(app.pid!);
  await direct;
  await broker?.acknowledged(APP_ID);
  await verify(database, way, messages.length);
  const perDelivery = Object.keys(pids).map(
    (name) => [name, (1000 * (after[name]! - before[name]!)) / MESSAGES] as const,
  );
  return { rate: (1000 * MESSAGES) / (ended - begun), cpu: Object.fromEntries(perDelivery), residentMiB: memory };
}

/** Starts daprd on a topic that has all messages. @returns the processes that take part */
async function feedFromBroker(
  processes: AsyncDisposableStack,
  broker: Broker,
  messages: readonly StoredMessage[],
  ports: { appPort: number; daprPort: number; mode: Way['mode'] },
): Promise<Record<string, number>> {
  await broker.purge();
  await broker.createPaused(APP_ID);
  const { appPort, daprPort: port, mode: concurrencyMode } = ports;
  const options = { appId: APP_ID, appPort, port, concurrencyMode, folder };
  const sidecar = await startSubscriberSidecar(processes, broker, progress, options);
  await broker.publish(messages);
  await broker.resume(APP_ID);
  return { daprd: sidecar.pid, nats: broker.pid };
}

/** Calls the subscriber as daprd does, without daprd. */
async function post(appPort: number, messages: readonly StoredMessage[], connections: number): Promise<void> {
  const pool = new Pool(`http://127.0.0.1:${appPort}`, { connections });
  const headers = { 'content-type': 'application/cloudevents+json', 'dapr-api-token': APP_TOKEN };
  const waiting = messages.values();
  const work = async () => {
    for (const { id, envelope } of waiting) {
      const body = JSON.stringify({
        id,
        specversion: '1.0',
        type: 'com.dapr.event.sent',
        source: APP_ID,
        topic: TOPIC,
        datacontenttype: 'application/octet-stream',
        data_base64: Buffer.from(envelope).toString('base64'),
      });
      const answer = await pool.request({ method: 'POST', path: `/events/${TOPIC}`, headers, body });
      const { status } = (await answer.body.json()) as { status?: string };
      if (status !== 'SUCCESS') throw new Error(`the subscriber answered ${answer.statusCode} ${status}`);
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
  await pool.close();
}

/** Resolves with the time at which the subscriber gave its n-th answer. @throws when its process ends before */
async function answered(app: ReturnType<typeof launch>, n: number): Promise<number> {
  const failed = once(app, 'exit').then(([code]) => Promise.reject(new Error(`the subscriber exited with ${code}`)));
  const report = (async () => {
    for (;;) {
      const [{ answers, at }] = (await once(app, 'message')) as [{ answers: number; at: number }];
      if (answers === n) return at;
    }
  })();
  return await Promise.race([report, failed]);
}

/** @throws when an effect is missing or was applied twice */
async function verify(client: Client, { name, program }: Way, expected: number): Promise<void> {
  const { rows } = await client.query<Record<string, number>>(`
    select (select count(*)::int from effect) as effects, (select count(distinct event_id)::int from effect) as events,
      (select count(*)::int from eventing.published) as published, (select count(*)::int from eventing.kept_delivery) as deferred,
      (select count(*)::int from eventing.relayed) as unconfirmed`);
  const { effects, events, published, deferred, unconfirmed } = rows[0]!;
  const done = program === 'recorder' ? [published, expected - unconfirmed!] : [effects, events];
  if (done.some((it) => it !== expected) || deferred !== 0)
    throw new Error(`${name}: ${done[0]} of ${expected} effects, ${done[1]} distinct, ${deferred} deferred`);
}
