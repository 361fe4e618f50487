// Measures what subscribers handle a second, behind a real daprd with JetStream, or called directly (`-- --direct`): a bare
// inbox transaction in pg and in MikroORM, this project's consumers and its recorder, in turns: `node bench/consume.ts`.
import { Pool } from 'undici';
import { Progress } from '../local/progress.ts';
import { type Broker, openBroker } from './broker.ts';
import { countCpu, residentMiB } from './cpu.ts';
import { makeEvents, type StoredMessage, storeEvents } from './events.ts';
import { benchFolder, emptyTables, openDatabase, TOPIC, until } from './harness.ts';
import { partOptions } from './options.ts';
import { report, type Sample, Turns } from './report.ts';
import { APP_TOKEN, startSubscriberSidecar } from './sidecar.ts';
import { type SubscriberApp, startApp } from './subscribers.ts';

const { rounds, direct } = partOptions();
const MESSAGES = 2000;
/** Of each way in a round: the speed of a shared machine changes within seconds. */
const TURNS = 3;
/** Handled before the time counts. While Node compiles, a delivery takes half as much time again. */
const WARM_UP = 4000;
const APP_ID = 'subscriber';

interface Way {
  readonly name: string;
  readonly program: 'floor' | 'orm-floor' | 'convergent' | 'ordered' | 'recorder';
}
const ways: Way[] = [
  { name: 'floor: pg inbox', program: 'floor' },
  { name: 'MikroORM inbox', program: 'orm-floor' },
  { name: 'convergent consumer', program: 'convergent' },
  { name: 'ordered consumer', program: 'ordered' },
  { name: 'recorder', program: 'recorder' },
];

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const folder = await benchFolder(stack);
const {
  database,
  appUrl,
  pid: postgresPid,
} = await openDatabase(folder, stack, progress, {
  track_commit_timestamp: 'on',
});
const broker = direct ? undefined : await openBroker(folder, stack, progress);

const turns = new Turns();
for (let round = 1; round <= rounds * TURNS; round++)
  for (const way of ways) {
    const sample = await turn(way);
    turns.add(way.name, sample);
    progress.print(`turn ${round}, ${way.name}: ${Math.round(sample.value)} deliveries/s`);
  }
const title = direct ? 'subscriber, called directly' : 'subscriber behind daprd';
const aims = { 'convergent consumer': 0.85, 'ordered consumer': 0.8, recorder: 2.5 };
const group = turns.group({ title, unit: 'deliveries a second', base: ways[0]!.name }, aims);
const method = `turns of ${MESSAGES} deliveries, medians of ${rounds * TURNS}, ratios within a round`;
report(progress, { part: 'consume', rounds, method, groups: [group] });

/** Lets one subscriber handle messages that are all in the topic when it starts. */
async function turn(way: Way): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  const messages = makeEvents(WARM_UP + MESSAGES);
  await emptyTables(database);
  await storeEvents(database, messages);
  const reports = [WARM_UP, messages.length];
  const app = await startApp(processes, { appId: APP_ID, program: way.program, databaseUrl: appUrl, reports });
  const pids: Record<string, number[]> = { app: [app.pid], postgres: [postgresPid] };
  if (broker) Object.assign(pids, await feed(processes, broker, messages, app));
  const posting = broker ? undefined : post(app.port, messages);
  await app.answered(WARM_UP);
  const cpu = countCpu(pids);
  await app.answered(messages.length);
  // The recorder answers before it has confirmed.
  await until(() => verify(way, messages.length));
  const details = { ...cpu(MESSAGES), 'MiB of the app': residentMiB(app.pid) };
  await posting;
  await broker?.acknowledged(APP_ID);
  return { value: MESSAGES / (await secondsOf(way)), details };
}

/** Returns the seconds from the commit of the last effect of the warm-up to that of the last effect. */
async function secondsOf({ program }: Way): Promise<number> {
  const { rows } = await database.query<{ seconds: number }>(
    `
    select extract(epoch from max(at) - (array_agg(at order by at))[$1])::float8 as seconds
      from (select pg_xact_commit_timestamp(xmin) as at from ${program === 'recorder' ? 'eventing.published' : 'effect'}) commits`,
    [WARM_UP],
  );
  return rows[0]!.seconds;
}

/** Starts daprd on a topic that has all messages. @returns the processes that take part */
async function feed(
  processes: AsyncDisposableStack,
  broker: Broker,
  messages: readonly StoredMessage[],
  app: SubscriberApp,
): Promise<Record<string, number[]>> {
  await broker.purge();
  await broker.createConsumer(APP_ID);
  await broker.publish(messages);
  const options = { appId: APP_ID, appPort: app.port, port: app.daprPort, folder };
  const sidecar = await startSubscriberSidecar(processes, broker, progress, options);
  return { daprd: [sidecar.pid], nats: [broker.pid] };
}

/** Calls the subscriber as daprd does, without daprd. */
async function post(appPort: number, messages: readonly StoredMessage[]): Promise<void> {
  const pool = new Pool(`http://127.0.0.1:${appPort}`, { connections: 1 });
  const headers = { 'content-type': 'application/cloudevents+json', 'dapr-api-token': APP_TOKEN };
  for (const { id, envelope } of messages) {
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
  await pool.close();
}

/** @throws when an effect is missing or was applied twice */
async function verify({ name, program }: Way, expected: number): Promise<void> {
  const { rows } = await database.query<Record<string, number>>(`
    select (select count(*)::int from effect) as effects, (select count(distinct event_id)::int from effect) as events,
      (select count(*)::int from eventing.published) as published, (select count(*)::int from eventing.kept_delivery) as deferred,
      (select count(*)::int from eventing.relayed) as unconfirmed`);
  const { effects, events, published, deferred, unconfirmed } = rows[0]!;
  const done = program === 'recorder' ? [published, expected - unconfirmed!] : [effects, events];
  if (done.some((it) => it !== expected) || deferred !== 0)
    throw new Error(`${name}: ${done[0]} of ${expected} effects, ${done[1]} distinct, ${deferred} deferred`);
}
