// Measures the whole path, from a business transaction to the effect in a consumer and the confirmation, on JetStream `single`,
// beside daprd that delivers the same messages to two bare Koa apps: `node bench/path.ts`.
import { Progress } from '../local/progress.ts';
import { partOptions } from './options.ts';
import { floor, openPathStage, ownPath } from './path-stage.ts';
import { latency, throughput } from './pipeline.ts';
import { report, Turns } from './report.ts';

const EVENTS = 3000;
const SECONDS = 12;
const LOAD = 0.3;

const { rounds } = partOptions();
const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const stage = await openPathStage(stack, progress);
const bare = floor(stage, stack);

const turns = new Turns();
for (let round = 1; round <= rounds; round++)
  for (const pipeline of [bare, ownPath(stage, 1), ownPath(stage, 2), ownPath(stage, 4)]) {
    const sample = await throughput(stage, pipeline, EVENTS);
    turns.add(pipeline.name, sample);
    progress.print(`round ${round}, ${pipeline.name}: ${Math.round(sample.value)} events/s`);
  }
const { name } = ownPath(stage, 1);
const unit = 'events a second';
const group = turns.group({ title: 'from the transaction to the effect', unit, base: bare.name }, { [name]: 0.8 });
const rate = LOAD * group.rows.find((row) => row.name === name)!.median;
const delays = new Turns();
for (let round = 1; round <= rounds; round++)
  for (const pipeline of [bare, ownPath(stage, 1)]) {
    const sample = await latency(stage, pipeline, { rate, seconds: SECONDS });
    delays.add(pipeline.name, sample);
    progress.print(`round ${round}, ${pipeline.name}: ${sample.value.toFixed(1)} ms`);
  }
const delay = delays.group({ title: 'from the commit to the effect, at 30 % load', unit: 'ms at p50' });
const method = `turns of ${EVENTS} events, medians of ${rounds} rounds, ratios within a round; latencies at ${Math.round(rate)} events a second`;
report(progress, { part: 'path', rounds, method, groups: [group, delay] });
