import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Progress } from '../../../local/progress.ts';
import { cacheFolder, findProgram, isRecent } from '../../../local/toolchain/binaries.ts';
import { natsServer } from '../../../local/toolchain/programs.ts';
import { temporaryFolder } from '../../support/folder.ts';

const output: string[] = [];
const progress = {
  print: (text: string) => output.push(text),
  live: () => undefined,
  endLive: () => undefined,
} as unknown as Progress;
const { PATH, MEMBER_SYSTEM_CACHE } = process.env;

/** Searches for nats-server on a PATH whose folders hold programs of these versions. */
async function find(folder: string, versions: Record<string, string>): Promise<string> {
  for (const [name, version] of Object.entries(versions)) {
    mkdirSync(join(folder, name));
    const program = join(folder, name, 'nats-server');
    writeFileSync(program, `#!/bin/sh\necho "nats-server: v${version}"\n`);
    chmodSync(program, 0o755);
  }
  process.env.PATH = Object.keys(versions)
    .map((name) => join(folder, name))
    .join(':');
  process.env.MEMBER_SYSTEM_CACHE = join(folder, 'cache');
  // The release is unreachable, and there is no Go on this PATH.
  const program = { ...natsServer, release: { ...natsServer.release, url: 'http://127.0.0.1:9/' } };
  return findProgram(program, progress, new AbortController().signal);
}

afterEach(() => {
  process.env.PATH = PATH;
  process.env.MEMBER_SYSTEM_CACHE = MEMBER_SYSTEM_CACHE ?? '';
  output.length = 0;
});

test('a program on the PATH is used, and an older one before it is skipped with a message', async () => {
  await using folder = await temporaryFolder();
  const found = await find(folder.path, { first: '2.9.1', second: '2.15.0' });
  expect(found).toBe(join(folder.path, 'second/nats-server'));
  expect(output[0]).toMatch(/^Skipping .*first\/nats-server: version 2.9.1, need 2.12.0 or newer/);
});

test('the error lists every failed attempt and what to install', async () => {
  await using folder = await temporaryFolder();
  const message = await find(folder.path, { only: '1.4.0' }).catch((error: Error) => error.message);
  expect(message).toMatch(/Cannot find, download or build nats-server/);
  expect(message).toMatch(/download: http:\/\/127.0.0.1:9\/SHA256SUMS cannot be reached/);
  expect(message).toMatch(/build: Go is not installed/);
  expect(message).toMatch(/install nats-server/);
});

test.each([
  ['1.18.0', '1.18.0', true],
  ['1.18.3', '1.18.0', true],
  ['1.20.0', '1.18.3', true],
  ['1.17.9', '1.18.0', false],
  ['1.18.0', '1.18.1', false],
  ['2.0.0', '1.18.0', false],
])('version %s is recent enough for %s: %s', (version, oldest, expected) => {
  expect(isRecent(version, oldest)).toBe(expected);
});

test('the cache folder is the configured one, else the platform’s default', () => {
  expect(cacheFolder({ MEMBER_SYSTEM_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(cacheFolder({ XDG_CACHE_HOME: '/b' })).toBe('/b/member-system');
  expect(cacheFolder({})).toMatch(/(\.cache|Library\/Caches)\/member-system$/);
});
