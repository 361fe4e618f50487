// Measures the relay's throughput from the outbox to JetStream, compared with daprd's bulk publishing of the same
// messages without ordering. Real processes, one after the other in each round: `node bench/relay.ts`. Results:
// bench/relay.md.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Pool } from 'undici';
import { Progress } from '../local/progress.ts';
import { DAPR_TOKEN, launch, machine, median, TOPIC, until } from './harness.ts';
import { openStage, type Stage } from './stage.ts';

const MESSAGES = 20_000;
const ROUNDS = 3;
const KEYS = [500, 30];
const relayMain = join(import.meta.dirname, '../services/relay/main.ts');

const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const stage = await openStage(stack, progress);

const rows: string[] = [];
for (const keys of KEYS) {
  const publishers: Record<string, (messages: Message[]) => Promise<number>> = {
    'daprd bulk, 1 call at a time': (messages) => publishRaw(stage, messages, 1),
    'daprd bulk, 4 calls at a time': (messages) => publishRaw(stage, messages, 4),
    'the relay': (messages) => relay(stage, messages),
  };
  const rates = new Map<string, number[]>();
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [name, run] of Object.entries(publishers)) {
      await stage.purge();
      const seconds = await run(makeMessages(keys));
      const stored = await stage.stored();
      if (stored !== MESSAGES) throw new Error(`${name}: the broker has ${stored} of ${MESSAGES} messages`);
      rates.set(name, [...(rates.get(name) ?? []), MESSAGES / seconds]);
      progress.print(`${keys} keys, round ${round}, ${name}: ${Math.round(MESSAGES / seconds)} messages/s`);
    }
  }
  const [one, four, relayed] = [...rates.values()].map(median) as [number, number, number];
  rows.push(
    `| ${[keys, ...[one, four, relayed].map(Math.round)].join(' | ')} | ${(relayed / one).toFixed(2)} | ${(relayed / four).toFixed(2)} |`,
  );
}
progress.line(`
${machine()};
${MESSAGES} messages of 1 KB, medians of ${ROUNDS} rounds, messages a second

| keys | daprd bulk, 1 call at a time | 4 at a time | relay | of 1 | of 4 |
|---|---|---|---|---|---|
${rows.join('\n')}`);

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

/** Publishes in bulks of a hundred, unordered, as fast as daprd accepts them. @returns the duration in seconds */
async function publishRaw({ daprPort }: Stage, messages: Message[], parallel: number): Promise<number> {
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
  return seconds;
}

function bulkBody(messages: Message[]): string {
  const entries = messages.map(({ id, key, envelope }) => {
    const metadata = JSON.stringify({ partitionKey: key });
    return `{"entryId":"${id}","contentType":"application/cloudevents+json","metadata":${metadata},"event":${envelope}}`;
  });
  return `[${entries.join(',')}]`;
}

/**
 * Measures from the commit of all messages until one running relay has emptied the outbox.
 * @returns the duration in seconds
 */
async function relay({ database, relayUrl, daprPort }: Stage, messages: Message[]): Promise<number> {
  await using processes = new AsyncDisposableStack();
  launch(processes, process.execPath, [relayMain], {
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
  await fill(database, messages);
  const since = performance.now();
  await database.query(`select pg_notify('eventing_outbox', '')`);
  for (let waiting = true; waiting; ) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    const { rows } = await database.query<{ waiting: boolean }>(
      'select exists (select from eventing.outbox) as waiting',
    );
    waiting = rows[0]!.waiting;
  }
  return (performance.now() - since) / 1000;
}

async function fill(database: Stage['database'], messages: Message[]): Promise<void> {
  await database.query('truncate eventing.outbox, eventing.relayed');
  await database.query('begin');
  for (let i = 0; i < messages.length; i += 1000) {
    const batch = messages.slice(i, i + 1000);
    await database.query(
      `insert into eventing.outbox (id, event_id, channel, topic, ordering_key, envelope)
       select id, id, 'internal', $4, key, envelope from unnest($1::uuid[], $2::text[], $3::jsonb[]) as given(id, key, envelope)`,
      [batch.map(({ id }) => id), batch.map(({ key }) => key), batch.map(({ envelope }) => envelope), TOPIC],
    );
  }
  await database.query('commit');
}
