import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, findProgram, isRecent } from '../../local/binaries.ts';
import { natsServer } from '../../local/programs.ts';
import type { Progress } from '../../local/progress.ts';
import { temporaryFolder } from './folder.ts';

const said: string[] = [];
const progress = {
  say: (text: string) => said.push(text),
  live: () => undefined,
  endLive: () => undefined,
} as unknown as Progress;
const { PATH, MEMBER_SYSTEM_CACHE } = process.env;

/** Looks for nats-server where folders of this machine hold programs that say these versions. */
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
  // No release of it can be reached, and there is no Go on this PATH.
  const program = { ...natsServer, release: { ...natsServer.release, url: 'http://127.0.0.1:9/' } };
  return findProgram(program, progress, new AbortController().signal);
}

afterEach(() => {
  process.env.PATH = PATH;
  process.env.MEMBER_SYSTEM_CACHE = MEMBER_SYSTEM_CACHE ?? '';
  said.length = 0;
});

test('a program on the PATH is taken; an older one before it is passed over, aloud', async () => {
  await using folder = await temporaryFolder();
  const found = await find(folder.path, { first: '2.9.1', second: '2.15.0' });
  expect(found).toBe(join(folder.path, 'second/nats-server'));
  expect(said[0]).toMatch(/first\/nats-server is passed over: it is 2.9.1, and 2.12.0 is needed/);
});

test('where every way fails, each failure is said, and what to install', async () => {
  await using folder = await temporaryFolder();
  const message = await find(folder.path, { only: '1.4.0' }).catch((error: Error) => error.message);
  expect(message).toMatch(/There is no nats-server/);
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
])('%s where %s is needed is recent enough: %s', (version, oldest, expected) => {
  expect(isRecent(version, oldest)).toBe(expected);
});

test('the cache is where the user says, else where programs of this platform keep theirs', () => {
  expect(cacheFolder({ MEMBER_SYSTEM_CACHE: '/a', XDG_CACHE_HOME: '/b' })).toBe('/a');
  expect(cacheFolder({ XDG_CACHE_HOME: '/b' })).toBe('/b/member-system');
  expect(cacheFolder({})).toMatch(/(\.cache|Library\/Caches)\/member-system$/);
});
