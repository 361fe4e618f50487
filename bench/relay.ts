// Measures the relay's throughput from the outbox to JetStream, compared with daprd's bulk publishing of the same
// messages without ordering. Real processes, one after the other in each round: `node bench/relay.ts`. Results:
// bench/relay.md. `--keys 500,30` and `--rounds 1` measure less; `--waiting 1000000` compares with a large backlog.
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Pool } from 'undici';
import { Progress } from '../local/progress.ts';
import { DAPR_TOKEN, launch, machine, median, TOPIC, until } from './harness.ts';
import { openStage, type Stage } from './stage.ts';

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '10000,500,30' },
    rounds: { type: 'string', default: '3' },
    waiting: { type: 'string' },
  },
});
const MESSAGES = 20_000;
const ROUNDS = Number(values.rounds);
const relayMain = join(import.meta.dirname, '../services/relay/main.ts');

/** What a run of a publisher took. */
interface Result {
  readonly seconds: number;
  /** Largest resident set, MiB. */
  readonly rss?: number;
}

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const stage = await openStage(stack, progress);
if (values.waiting) await compareBacklogs([15_000, Number(values.waiting)]);
else await comparePublishers(values.keys.split(',').map(Number));

async function comparePublishers(keyCounts: number[]): Promise<void> {
  const rows: string[] = [];
  for (const keys of keyCounts) {
    const publishers: Record<string, (messages: Message[]) => Promise<Result>> = {
      'daprd bulk, 1 call at a time': (messages) => publishRaw(stage, messages, 1),
      'daprd bulk, 4 calls at a time': (messages) => publishRaw(stage, messages, 4),
      'the relay': (messages) => relay(stage, messages),
    };
    const rates = new Map<string, number[]>();
    let rss = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      for (const [name, run] of Object.entries(publishers)) {
        await stage.purge();
        const result = await run(makeMessages(keys));
        rss = Math.max(rss, result.rss ?? 0);
        const stored = await stage.stored();
        if (stored !== MESSAGES) throw new Error(`${name}: the broker has ${stored} of ${MESSAGES} messages`);
        const rate = MESSAGES / result.seconds;
        rates.set(name, [...(rates.get(name) ?? []), rate]);
        progress.print(`${keys} keys, round ${round}, ${name}: ${Math.round(rate)} messages/s`);
      }
    }
    const [one, four, relayed] = [...rates.values()].map(median) as [number, number, number];
    const ratios = [one, four].map((rate) => (relayed / rate).toFixed(2));
    rows.push(`| ${[keys, ...[one, four, relayed].map(Math.round), ...ratios, rss].join(' | ')} |`);
  }
  progress.line(`
${machine()};
${MESSAGES} messages of 1 KB, medians of ${ROUNDS} rounds, messages a second

| keys | daprd bulk, 1 call at a time | 4 at a time | relay | of 1 | of 4 | relay's largest RSS, MiB |
|---|---|---|---|---|---|---|
${rows.join('\n')}`);
}

interface Message {
  readonly id: string;
  readonly key: string;
  readonly envelope: string;
}

/** Creates messages of 1 KB with random keys. */
function makeMessages(keys: number): Message[] {
  const names = Array.from({ length: keys }, () => randomUUID());
  return Array.from({ length: MESSAGES }, (_, n) => {
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

/** Publishes in bulks of a hundred, unordered, as fast as daprd accepts them. */
async function publishRaw({ daprPort }: Stage, messages: Message[], parallel: number): Promise<Result> {
  const pool = new Pool(`http://127.0.0.1:${daprPort}`, { connections: parallel });
  const calls: string[] = [];
  for (let i = 0; i < messages.length; i += 100) calls.push(bulkBody(messages.slice(i, i + 100)));
  const path = `/v1.0/publish/bulk/member-${TOPIC}/${TOPIC}`;
  const headers = { 'content-type': 'application/json', 'dapr-api-token': DAPR_TOKEN };
  const since = performance.now();
  const work = async () => {
    for (let body = calls.pop(); body; body = calls.pop()) {
      const answer = await pool.request({ method: 'POST', path, headers, body });
      if (answer.statusCode !== 204) throw new Error(`daprd: ${answer.statusCode} ${await answer.body.text()}`);
      await answer.body.dump();
    }
  };
  await Promise.all(Array.from({ length: parallel }, work));
  const seconds = (performance.now() - since) / 1000;
  await pool.close();
  return { seconds };
}

function bulkBody(messages: Message[]): string {
  const entries = messages.map(({ id, key, envelope }) => {
    const metadata = JSON.stringify({ partitionKey: key });
    return `{"entryId":"${id}","contentType":"application/cloudevents+json","metadata":${metadata},"event":${envelope}}`;
  });
  return `[${entries.join(',')}]`;
}

/** Measures from the commit of all messages until one running relay, which has sent a thousand before, has emptied the outbox. */
async function relay({ database }: Stage, messages: Message[]): Promise<Result> {
  await using processes = new AsyncDisposableStack();
  const pid = await startRelay(processes);
  await fill(makeMessages(1_000).slice(0, 1_000));
  await wake();
  while ((await stage.stored()) < 1_000) await pause(20);
  await stage.purge();
  await fill(messages);
  const since = performance.now();
  await wake();
  // Looking at the table all the time would take a part of the CPU.
  while ((await stage.stored()) < messages.length) await pause(20);
  while ((await database.query('select from eventing.outbox limit 1')).rowCount) await pause(10);
  return { seconds: (performance.now() - since) / 1000, rss: await largestRss(pid) };
}

/** Starts a relay and waits until it has all partitions. @returns its process id */
async function startRelay(processes: AsyncDisposableStack): Promise<number> {
  const { database, relayUrl, daprPort } = stage;
  const { pid } = launch(processes, process.execPath, [relayMain], {
    DATABASE_URL: relayUrl,
    APP_ID: 'member',
    DAPR_HTTP_PORT: `${daprPort}`,
    DAPR_API_TOKEN: DAPR_TOKEN,
    PORT: '0',
    LOG_LEVEL: 'warn',
  });
  await until(async () => {
    const { rows } = await database.query(
      `select from pg_locks where locktype = 'advisory' and classid = 7002 and granted`,
    );
    if (rows.length < 32) throw new Error('The relay has not taken its leases');
  });
  return pid!;
}

async function wake(): Promise<void> {
  await stage.database.query(`select pg_notify('eventing_outbox', '')`);
}

/** Returns the largest resident set of a process so far, MiB. */
async function largestRss(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
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

async function storedAtLeast(count: number): Promise<{ stored: number; at: number }> {
  for (;;) {
    const stored = await stage.stored();
    if (stored >= count) return { stored, at: performance.now() };
    await pause(10);
  }
}

/** Compares the rate of 10,000 messages, after the first 2,000, for different numbers of messages that wait when a relay starts. */
async function compareBacklogs(backlogs: number[]): Promise<void> {
  const rates = new Map<number, number[]>();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const backlog of backlogs) {
      await using processes = new AsyncDisposableStack();
      await stage.purge();
      await fill([], backlog);
      const pid = await startRelay(processes);
      const first = await storedAtLeast(2_000);
      const last = await storedAtLeast(first.stored + 10_000);
      const rate = ((last.stored - first.stored) / (last.at - first.at)) * 1000;
      rates.set(backlog, [...(rates.get(backlog) ?? []), rate]);
      progress.print(
        `${backlog} waiting, round ${round}: ${Math.round(rate)} messages/s, ${await largestRss(pid)} MiB`,
      );
    }
  }
  const lines = [...rates].map(([backlog, all]) => `| ${backlog} | ${Math.round(median(all))} |`);
  progress.line(`\n| waiting | messages a second |\n|---|---|\n${lines.join('\n')}`);
}
