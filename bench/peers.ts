// Measures other products in the same way as bench/path.ts: `node bench/peers.ts`.
import { once } from 'node:events';
import { join } from 'node:path';
import { Progress } from '../local/progress.ts';
import { daprOutbox } from './dapr-outbox.ts';
import { transactions } from './feeds.ts';
import { launch } from './harness.ts';
import { partOptions } from './options.ts';
import { floor, openPathStage, ownPath } from './path-stage.ts';
import { installPeers } from './peer-packages.ts';
import { openBoss, peerExtras, setUpPeers, setUpReplication } from './peers-setup.ts';
import { latency, type Pipeline, throughput } from './pipeline.ts';
import { report, Turns } from './report.ts';

const EVENTS = 3000;
const SECONDS = 12;
/** Events a second, the same for all, as far as the slowest one allows. */
const RATE = 60;

const { rounds } = partOptions();
const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
await installPeers(progress);
const stage = await openPathStage(stack, progress);
await setUpPeers(stage);
const boss = await openBoss(stage.appUrl);
stack.defer(() => boss.stop({ graceful: false }));
const enqueue = peerExtras(boss);

/** Starts a worker of another product. */
const worker = (way: string): Pipeline['start'] => {
  return async (processes) => {
    if (way === 'replication') await setUpReplication(stage);
    const env = { OWNER_URL: stage.ownerUrl, SUPERUSER_URL: stage.superuserUrl, NATS_URL: stage.broker.url };
    const args = [join(import.meta.dirname, 'peer-worker.ts'), way];
    const child = launch(processes, process.execPath, args, env, ['ignore', 'ignore', 'inherit', 'ipc']);
    await once(child, 'message');
    return { worker: [child.pid!] };
  };
};
const consumer = { appId: 'consumer', program: 'orm-floor' };
const peer = (name: string, extra: string, way: string, apps: Pipeline['apps']): Pipeline => ({
  name,
  feed: transactions(stage.orm, enqueue[extra]!),
  apps,
  start: worker(way),
});
const outbox = 'pg-transactional-outbox';
const peers = [
  peer(`${outbox}, polling`, outbox, 'polling', [consumer]),
  peer(`${outbox}, replication`, outbox, 'replication', [consumer]),
  await daprOutbox(stage, stack),
  peer('graphile-worker (no broker)', 'graphile-worker (no broker)', 'graphile-worker', []),
  peer('pg-boss (no broker)', 'pg-boss (no broker)', 'pg-boss', []),
];
const own = ownPath(stage, 1);
const pipelines = [floor(stage, stack), own, ...peers];
const shared = { peers: peers.map(({ name }) => name) };

const turns = new Turns();
const delays = new Turns();
for (let round = 1; round <= rounds; round++)
  for (const pipeline of pipelines) {
    const sample = await throughput(stage, pipeline, EVENTS);
    turns.add(pipeline.name, sample);
    const delay = await latency(stage, pipeline, { rate: RATE, seconds: SECONDS });
    delays.add(pipeline.name, delay);
    const shown = `${Math.round(sample.value)} events/s, ${delay.value.toFixed(1)} ms`;
    progress.print(`round ${round}, ${pipeline.name}: ${shown}`);
  }
const groups = [
  turns.group({ title: 'from the transaction to the effect', unit: 'events a second', ...shared, base: own.name }),
  delays.group({ title: `from the commit to the effect, at ${RATE} a second`, unit: 'ms at p50', ...shared }),
];
const method = `turns of ${EVENTS} events, medians of ${rounds} rounds, ratios within a round`;
report(progress, { part: 'peers', rounds, method, groups });
