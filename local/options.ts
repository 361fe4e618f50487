import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

export const help = `Starts both systems with PostgreSQL, NATS JetStream and Dapr on this machine, and plays a demo story.

npm start [-- options]
  --fresh         delete the data of earlier runs first
  --once          stop after the story; exit code 0 if it succeeded, else 1
  --no-story      do not play the story
  --replicas N    run N of each API, relay and worker, 1 to 9 (default 1)
  --data DIR      data directory (default .data); with this option the APIs use free ports instead of 8080 and 8081
  --help          print this help`;

export interface Options {
  readonly fresh: boolean;
  readonly once: boolean;
  readonly story: boolean;
  readonly replicas: number;
  readonly dataDir: string;
  /** Whether the APIs use ports 8080 and 8081 when these are free. */
  readonly usualPorts: boolean;
  readonly help: boolean;
}

const home = join(import.meta.dirname, '../.data');

/** Parses the command line. @throws TypeError for unknown flags and invalid values */
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
  const consumedByNpm = ['fresh', 'once', 'replicas', 'data'].find(
    (flag) => process.env[`npm_config_${flag}`] !== undefined,
  );
  if (consumedByNpm)
    throw new TypeError(`npm consumed the flag --${consumedByNpm}: run npm start -- --${consumedByNpm}`);
  const { data, replicas, 'no-story': noStory, ...flags } = values;
  if (!/^[1-9]$/.test(replicas)) throw new TypeError(`--replicas takes a number from 1 to 9, not '${replicas}'`);
  return {
    ...flags,
    story: !noStory,
    replicas: Number(replicas),
    dataDir: dataDirectory(data),
    usualPorts: data === undefined,
  };
}

/** Returns the absolute path of the directory given with --data (default `.data` of the project). */
export function dataDirectory(path?: string): string {
  return path === undefined ? home : resolve(path);
}
