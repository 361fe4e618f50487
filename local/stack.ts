import { parseArgs } from 'node:util';
import { dataDirectory } from './options.ts';
import { identify, processTree, send } from './supervisor/process-identity.ts';
import { type Running, type RunningProcess, readRunning } from './supervisor/running.ts';

const usage = `Usage:
  npm run stack                       list the processes and their state
  npm run stack -- kill NAME          kill a process (SIGKILL); npm start restarts it
  npm run stack -- stop NAME          freeze a process and its children (SIGSTOP)
  npm run stack -- cont NAME          continue a frozen process (SIGCONT)
  npm run stack -- restart NAME       stop a process gracefully; npm start restarts it
Options:
  --data DIR                          data directory of the running system (default .data)
  --help                              print this help`;

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
    if (!isVerb(verb)) throw new TypeError(`Unknown command '${verb}'.\n\n${usage}`);
    if (!name) throw new TypeError(`Missing process name: npm run stack -- ${verb} NAME\n\n${usage}`);
    if (more.length > 0) throw new TypeError(`Unexpected argument '${more[0]}': name one process.\n\n${usage}`);
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
  if (!target) throw new Error(`Unknown process '${name}'. Processes: ${Object.keys(processes).join(', ')}`);
  const now = await identify(target.pid);
  if (now?.started !== target.started) throw new Error(`${name} is not running (state: ${target.state})`);
  // A restart only stops the process: the supervisor starts it again.
  const signal = signals[verb] ?? target.stopSignal;
  // PostgreSQL works in child processes, which a signal to the parent alone does not freeze.
  const targets = verb === 'stop' || verb === 'cont' ? await processTree(target.pid) : [target.pid];
  for (const pid of targets) send(pid, signal);
  // A frozen process handles the stop signal only after SIGCONT.
  if (verb === 'restart') send(target.pid, 'SIGCONT');
  process.stdout.write(`Sent ${signal} to ${name} (pid ${target.pid})\n`);
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
  if (!alive)
    process.stderr.write('npm start was killed: these processes are unsupervised. The next npm start stops them.\n');
  return alive ? 0 : 1;
}

async function row(name: string, { pid, state, restarts, ports, started }: RunningProcess): Promise<string[]> {
  const now = await identify(pid);
  const shown = now?.started !== started && state === 'running' ? 'exited' : now?.frozen ? 'frozen' : state;
  const portList = Object.entries(ports).map(([use, port]) => `${use} ${port}`);
  return [name, shown, `${pid}`, `${restarts}`, portList.join(', ')];
}
