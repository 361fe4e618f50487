// Measures what an event adds to a business transaction: the same MikroORM transactions without events, with one plain
// outbox insert of 1 KB, and with events, in turns: `node bench/write.ts`.
import { v7 as uuid } from 'uuid';
import { Progress } from '../local/progress.ts';
import { countCpu } from './cpu.ts';
import { benchFolder, openDatabase, walBytes } from './harness.ts';
import { createLamps, type Extra, extras, openLamps, write } from './lamps.ts';
import { partOptions } from './options.ts';
import { installPeers } from './peer-packages.ts';
import { openBoss, peerExtras, setUpPeers } from './peers-setup.ts';
import { report, type Sample, Turns } from './report.ts';
import { latencies, median, openLoop, percentile } from './statistics.ts';

/** Short turns, many of them: the speed of a shared machine changes within seconds. */
const TRANSACTIONS = 250;
const TURNS = 40;
const WARM_UP = 4;
const CONNECTIONS = 8;
const OPEN_LOOP_SECONDS = 5;
/** Of the rate of transactions with an event, in a closed loop. */
const LOAD = 0.3;

const { rounds, peers } = partOptions();
const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const opened = await openDatabase(await benchFolder(stack), stack, progress);
const { database, appUrl, pid } = opened;
const orm = await openLamps(stack, { database, appUrl, connections: CONNECTIONS });
const ids = await createLamps(orm, 500);
const others = peers ? await openPeers() : {};
const ways: Record<string, Extra> = { ...extras, ...others };

const groups = [];
const shared = { peers: Object.keys(others) };
const kinds = { 'a new aggregate': 0.55, 'an existing aggregate': 0.5 };
for (const [kind, aim] of Object.entries(kinds)) {
  const turns = new Turns();
  for (let round = 1 - WARM_UP; round <= rounds * TURNS; round++) {
    let walOfNone = 0;
    for (const [name, extra] of Object.entries(ways)) {
      const { value, wal, cpu } = await closedLoop(kind, extra);
      if (name === 'no event') walOfNone = wal;
      const details = { 'KB of WAL added': (wal - walOfNone) / 1024, ...cpu };
      if (round > 0) turns.add(name, { value, details });
    }
    if (round > 0 && round % 10 === 0) progress.print(`${kind}: turn ${round} of ${rounds * TURNS}`);
  }
  const title = `transaction about ${kind}`;
  const group = turns.group({ title, unit: 'transactions a second', ...shared, base: 'no event' }, { 'an event': aim });
  groups.push(group);
  const rate = LOAD * group.rows.find(({ name }) => name === 'an event')!.median;
  groups.push(await openLoops(kind, rate));
  progress.print(`${kind}: latencies at ${Math.round(rate)} transactions a second`);
}
const method = `${CONNECTIONS} connections; turns of ${TRANSACTIONS} transactions, ${rounds * TURNS} of each, ratios within a round`;
report(progress, { part: 'write', rounds, method, groups });

/** Runs a turn in which each connection begins the next transaction as soon as its last one is done. */
async function closedLoop(kind: string, extra: Extra) {
  const before = await walBytes(database);
  const cpu = countCpu({ node: [process.pid], postgres: [pid] });
  const since = performance.now();
  let next = 0;
  const worker = async () => {
    while (next < TRANSACTIONS) await transaction(kind, next++, extra);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, worker));
  const seconds = (performance.now() - since) / 1000;
  const cpuPerThousand = cpu(TRANSACTIONS);
  const wal = ((await walBytes(database)) - before) / TRANSACTIONS;
  return { value: TRANSACTIONS / seconds, wal, cpu: cpuPerThousand };
}

/** Measures latencies at a constant rate, the same for all ways. */
async function openLoops(kind: string, rate: number) {
  const turns = new Turns();
  for (let round = 1; round <= rounds * 3; round++) {
    let none = 0;
    for (const [name, extra] of Object.entries(ways)) {
      const all = latencies(await openLoop(rate, OPEN_LOOP_SECONDS, (n) => transaction(kind, n, extra)));
      if (name === 'no event') none = median(all);
      const details = { 'p99 ms': percentile(all, 99), 'ms added at p50': median(all) - none };
      turns.add(name, { value: median(all), details } satisfies Sample);
    }
  }
  return turns.group({ title: `latency, ${kind}, at 30 % load`, unit: 'ms at p50', ...shared });
}

function transaction(kind: string, n: number, extra: Extra): Promise<void> {
  const existing = kind === 'an existing aggregate';
  return write(orm, existing ? ids[n % ids.length]! : uuid(), existing, extra);
}

async function openPeers(): Promise<Record<string, Extra>> {
  await installPeers(progress);
  await setUpPeers(opened);
  const boss = await openBoss(appUrl);
  stack.defer(() => boss.stop({ graceful: false }));
  return peerExtras(boss);
}
