// Measures the relay's throughput from the outbox to JetStream, compared with daprd's bulk publishing of the same
// messages without ordering: `node bench/relay.ts`. `--waiting 1000000` compares with a large backlog.
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Progress } from '../local/progress.ts';
import type { Message } from './broker.ts';
import { countCpu, largestMiB } from './cpu.ts';
import { TOPIC } from './harness.ts';
import { openRawPublisher } from './publish.ts';
import { startRelay } from './relay-process.ts';
import { type Group, report, type Sample, Turns } from './report.ts';
import { openStage } from './stage.ts';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '10000,500,30' },
    rounds: { type: 'string', default: '1' },
    waiting: { type: 'string' },
  },
});
const MESSAGES = 20_000;
const rounds = Number(values.rounds);
/** By number of keys: the share of four calls at a time that the relay should reach. */
const AIMS: Readonly<Record<number, number>> = { 10000: 0.75, 30: 0.5 };
const FOUR = 'daprd bulk, 4 calls at a time';

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const stage = await openStage(stack, progress);
const publishOne = openRawPublisher(stack, stage.daprPort, 1);
const publishFour = openRawPublisher(stack, stage.daprPort, 4);
const groups: Group[] = [];
if (values.waiting) groups.push(await compareBacklogs([10_000, Number(values.waiting)]));
else for (const keys of values.keys.split(',')) groups.push(await comparePublishers(Number(keys)));
const method = `${values.waiting ? 10_000 : MESSAGES} messages of 1 KB, ${rounds} rounds, ratios within a round`;
report(progress, { part: 'relay', rounds, method, groups });

async function comparePublishers(keys: number): Promise<Group> {
  const turns = new Turns();
  const publishers: Record<string, (messages: Message[]) => Promise<Sample>> = {
    'daprd bulk, 1 call at a time': (messages) => timed(() => publishOne(messages)),
    [FOUR]: (messages) => timed(() => publishFour(messages)),
    'the relay': relay,
  };
  for (let round = 1; round <= rounds; round++)
    for (const [name, run] of Object.entries(publishers)) {
      await stage.purge();
      const sample = await run(makeMessages(MESSAGES, keys));
      const stored = await stage.stored();
      if (stored !== MESSAGES) throw new Error(`${name}: the broker has ${stored} of ${MESSAGES} messages`);
      turns.add(name, sample);
      progress.print(`${keys} keys, round ${round}, ${name}: ${Math.round(sample.value)} messages/s`);
    }
  const aim = AIMS[keys];
  const title = `from the outbox to JetStream, ${keys} keys`;
  return turns.group({ title, unit: 'messages a second', base: FOUR }, aim ? { 'the relay': aim } : {});
}

async function timed(publish: () => Promise<void>): Promise<Sample> {
  const since = performance.now();
  await publish();
  return { value: (1000 * MESSAGES) / (performance.now() - since) };
}

/** Measures from the commit of all messages until one running relay, which has sent a thousand before, has emptied the outbox. */
async function relay(messages: Message[]): Promise<Sample> {
  await using processes = new AsyncDisposableStack();
  const pid = await startRelay(processes, stage);
  await fill(makeMessages(1000, 1000));
  await wake();
  while ((await stage.stored()) < 1000) await pause(20);
  await stage.purge();
  await fill(messages);
  const cpu = countCpu({ relay: [pid] });
  const since = performance.now();
  await wake();
  // Looking at the table all the time would take a part of the CPU.
  while ((await stage.stored()) < messages.length) await pause(20);
  while ((await stage.database.query('select from eventing.outbox limit 1')).rowCount) await pause(10);
  const value = (1000 * MESSAGES) / (performance.now() - since);
  return { value, details: { ...cpu(MESSAGES), 'largest MiB': largestMiB(pid) } };
}

/** Compares the rate of the first 10,000 messages for different numbers of messages that wait. */
async function compareBacklogs(backlogs: number[]): Promise<Group> {
  const turns = new Turns();
  for (let round = 1; round <= rounds; round++)
    for (const backlog of backlogs) {
      await using processes = new AsyncDisposableStack();
      await stage.purge();
      const pid = await startRelay(processes, stage);
      await fill(makeMessages(10_000, 10_000), backlog - 10_000);
      const since = performance.now();
      await wake();
      while ((await stage.stored()) < 10_000) await pause(10);
      const value = 10_000_000 / (performance.now() - since);
      turns.add(`${backlog} waiting`, { value, details: { 'largest MiB': largestMiB(pid) } });
      progress.print(`${backlog} waiting, round ${round}: ${Math.round(value)} messages/s`);
    }
  const base = `${backlogs[0]} waiting`;
  return turns.group({ title: 'the relay’s first 10,000 messages', unit: 'messages a second', base });
}

async function wake(): Promise<void> {
  await stage.database.query(`select pg_notify('eventing_outbox', '')`);
}

/** Creates messages of 1 KB with random keys. */
function makeMessages(count: number, keys: number): Message[] {
  const names = Array.from({ length: keys }, () => randomUUID());
  return Array.from({ length: count }, (_, n) => {
    const [id, key] = [randomUUID(), names[Math.floor(Math.random() * keys)]!];
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const envelope = {
      specversion: '1.0',
      id,
      source: '/bench',
      type: 'bench.happened',
      subject: key,
      time: new Date().toISOString(),
      datacontenttype: 'application/json',
      eventid: randomUUID(),
      sequence: String(n + 1).padStart(10, '0'),
      target: 'ALL',
      partitionkey: key,
      traceparent,
      traceid: traceparent,
      data: { attributes: { value: 'x'.repeat(460) } },
    };
    return { id, key, envelope: JSON.stringify(envelope) };
  });
}

/** Commits the messages, and behind them a number of others, in one transaction. */
async function fill(messages: Message[], others = 0): Promise<void> {
  const { database } = stage;
  await database.query('truncate eventing.outbox, eventing.relayed');
  await database.query('begin');
  for (let i = 0; i < messages.length; i += 1000) await insert(messages.slice(i, i + 1000));
  await database.query(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select id, id, 'internal', $2, 'key-' || n % 10000, jsonb_build_object('specversion', '1.0', 'id', id, 'source', '/bench',
       'type', 'bench.happened', 'data', jsonb_build_object('value', repeat('x', 800)))
     from (select gen_random_uuid() as id, n from generate_series(1, $1::int) n) given`,
    [others, TOPIC],
  );
  await database.query('commit');
}

async function insert(batch: Message[]): Promise<void> {
  await stage.database.query(
    `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
     select id, id, 'internal', $4, key, envelope from unnest($1::uuid[], $2::text[], $3::jsonb[]) as given(id, key, envelope)`,
    [batch.map(({ id }) => id), batch.map(({ key }) => key), batch.map(({ envelope }) => envelope), TOPIC],
  );
}
