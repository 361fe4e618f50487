// The bench: `npm run bench`, about ten minutes. `-- --full`: three rounds and other products beside, up to 75 minutes.
// `-- --only write` (relay, consume, path, peers): one part. `-- --resume`: skips parts with results of this commit.
// `-- --check`: compares with the committed results instead of replacing them, and fails if a ratio misses in two runs.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Progress } from '../local/progress.ts';
import { type Miss, missedTwice, misses, TOLERANCE } from './check.ts';
import { commitOf, launch } from './harness.ts';
import { mainOptions, PARTS, type Part, partArguments } from './options.ts';
import { readReport, resultsFile, writeGenerated } from './results.ts';

const options = mainOptions(process.argv.slice(2));
const progress = new Progress(process.stdout);
await using stack = new AsyncDisposableStack();
const folder = mkdtempSync(join(tmpdir(), 'member-system-bench-reports-'));
stack.defer(() => rmSync(folder, { recursive: true, force: true }));

const parts = options.only ? [options.only] : PARTS.filter((part) => part !== 'peers' || options.full);
if (options.check) await check();
else await measure();

async function measure(): Promise<void> {
  for (const [index, part] of parts.entries()) {
    const known = readReport(part);
    if (options.resume && known?.commit === commitOf() && known.rounds === options.rounds) {
      progress.print(`${part}: measured already`);
      continue;
    }
    progress.print(`${part}: part ${index + 1} of ${parts.length}`);
    await run(part, resultsFile(part));
    writeGenerated();
  }
  progress.print('results and pictures are in bench/results');
}

async function check(): Promise<void> {
  const first: Miss[] = [];
  for (const part of parts) first.push(...(await compare(part)));
  const again = parts.filter((part) => first.some((miss) => miss.part === part));
  const second: Miss[] = [];
  for (const part of again) {
    progress.print(`${part}: a ratio is more than ${TOLERANCE * 100} % below the committed one; measuring again`);
    second.push(...(await compare(part)));
  }
  const twice = missedTwice(first, second);
  for (const { part, group, row, committed, measured } of twice)
    progress.line(`${part}: ${group}: ${row}: ${measured.toFixed(2)} of the base, committed ${committed.toFixed(2)}`);
  if (twice.length > 0) process.exitCode = 1;
  else progress.line('no ratio missed twice');
}

async function compare(part: Part): Promise<Miss[]> {
  const committed = readReport(part);
  if (!committed) throw new Error(`${part} has no committed results: run "npm run bench -- --only ${part}" first`);
  const file = join(folder, `${part}.json`);
  await run(part, file);
  return misses(committed, readReport(part, file)!);
}

async function run(part: Part, file: string): Promise<void> {
  const args = [join(import.meta.dirname, `${part}.ts`), ...partArguments(part, options)];
  const child = launch(stack, process.execPath, args, { BENCH_REPORT: file }, 'inherit');
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${part} failed; "npm run bench -- --resume" continues with it`);
}
