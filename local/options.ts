import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const help = `Starts the member system on this machine, on real parts, and plays a story through its public APIs.

npm start [-- options]
  --fresh         forgets the data of earlier runs first
  --once          stops everything after the story; the exit code says how the story went
  --no-story      plays no story
  --replicas N    starts N of each API, relay and worker, 1 unless told
  --data DIR      keeps the data there instead of in .data; the APIs then take any free ports, not 8080 and 8081
  --help          prints this`;

export interface Options {
  readonly fresh: boolean;
  readonly once: boolean;
  readonly story: boolean;
  readonly replicas: number;
  readonly dataDir: string;
  /** Whether the APIs are tried at their usual ports. */
  readonly usualPorts: boolean;
  readonly help: boolean;
}

const home = join(import.meta.dirname, '../.data');

/** What the user asks for. @throws a TypeError for flags that are unknown or do not fit */
export function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      fresh: { type: 'boolean', default: false },
      once: { type: 'boolean', default: false },
      'no-story': { type: 'boolean', default: false },
      replicas: { type: 'string', default: '1' },
      data: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const swallowed = ['fresh', 'once', 'replicas', 'data'].find(
    (flag) => process.env[`npm_config_${flag}`] !== undefined,
  );
  if (swallowed) throw new TypeError(`npm kept --${swallowed} to itself: write npm start -- --${swallowed}`);
  const { data, replicas, 'no-story': silent, ...flags } = values;
  if (!/^[1-9]$/.test(replicas)) throw new TypeError(`--replicas takes a number from 1 to 9, not '${replicas}'`);
  return {
    ...flags,
    story: !silent,
    replicas: Number(replicas),
    dataDir: dataDirectory(data),
    usualPorts: data === undefined,
  };
}

/** The directory given with --data, or the project's own. */
export function dataDirectory(given?: string): string {
  return given === undefined ? home : resolve(given);
}
