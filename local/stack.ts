import { parseArgs } from 'node:util';
import { dataDirectory } from './options.ts';
import { family, identify, send } from './process-identity.ts';
import { type Running, type RunningProcess, readRunning } from './running.ts';

const usage = `npm run stack                               lists what runs
npm run stack -- kill|stop|cont|restart NAME   kills, freezes, continues or restarts one process
  --data DIR   of the system that was started with it
  --help       prints this`;

const options = { data: { type: 'string' }, help: { type: 'boolean' } } as const;
const signals = { kill: 'SIGKILL', stop: 'SIGSTOP', cont: 'SIGCONT', restart: undefined } as const;

process.exitCode = await main(process.argv.slice(2));

/** @returns the exit code */
async function main(args: string[]): Promise<number> {
  try {
    const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
    const [verb = 'list', name, ...more] = positionals;
    if (values.help) {
      process.stdout.write(`${usage}\n`);
      return 0;
    }
    const running = await readRunning(dataDirectory(values.data));
    if (verb === 'list' && !name) return await list(running);
    if (!isVerb(verb)) throw new TypeError(`'${verb}' is not a word it knows.\n${usage}`);
    if (!name) throw new TypeError(`Which process is to ${verb}?\n${usage}`);
    if (more.length > 0) throw new TypeError(`One process at a time: ${more.join(' ')} is too much.\n${usage}`);
    await act(verb, name, running);
    return 0;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return error instanceof TypeError ? 2 : 1;
  }
}

function isVerb(word: string): word is keyof typeof signals {
  return Object.hasOwn(signals, word);
}

async function act(verb: keyof typeof signals, name: string, { processes }: Running): Promise<void> {
  const target = processes[name];
  if (!target) throw new Error(`There is no process ${name}. There are ${Object.keys(processes).join(', ')}.`);
  const now = await identify(target.pid);
  if (now?.started !== target.started) throw new Error(`${name} is not running right now (${target.state})`);
  // The next life of what is restarted is the supervisor's to begin.
  const signal = signals[verb] ?? target.stopSignal;
  // A parent that is frozen leaves its children at work.
  const targets = verb === 'stop' || verb === 'cont' ? await family(target.pid) : [target.pid];
  for (const pid of targets) send(pid, signal);
  // One that is frozen would not notice.
  if (verb === 'restart') send(target.pid, 'SIGCONT');
  process.stdout.write(`${name} (${target.pid}) was sent ${signal}\n`);
}

async function list({ processes, supervisor }: Running): Promise<number> {
  const rows = await Promise.all(Object.entries(processes).map(([name, it]) => row(name, it)));
  const table = [['name', 'state', 'pid', 'restarts', 'ports'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((cells) => cells[column]!.length)));
  const lines = table.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
  process.stdout.write(`${lines.join('\n')}\n`);
  const alive = (await identify(supervisor.pid))?.started === supervisor.started;
  if (!alive) process.stderr.write('Nobody looks after them: npm start was killed. Its next start ends them.\n');
  return alive ? 0 : 1;
}

async function row(name: string, { pid, state, restarts, ports, started }: RunningProcess): Promise<string[]> {
  const now = await identify(pid);
  const shown = now?.started !== started && state === 'running' ? 'gone' : now?.frozen ? 'stopped' : state;
  const list = Object.entries(ports).map(([what, port]) => `${what} ${port}`);
  return [name, shown, `${pid}`, `${restarts}`, list.join(', ')];
}
