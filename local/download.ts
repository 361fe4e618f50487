import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { EnvHttpProxyAgent, request, interceptors } from 'undici';
import type { Program } from './programs.ts';
import type { Progress } from './progress.ts';

const run = promisify(execFile);

const MIB = 1024 ** 2;

/**
 * Downloads the program's official release for this machine, and puts it at `target` when its SHA-256 is the published one. `target` comes
 * into being whole or not at all.
 * @param url where the release's files lie, for tests
 * @throws when there is no release for this machine, no connection within 5 s, or another checksum
 */
export async function download(
  { name, release }: Program,
  target: string,
  progress: Progress,
  signal: AbortSignal,
  url: string = release.url,
): Promise<void> {
  const [os, arch] = goPlatform();
  const archive = release.archive(os, arch);
  const client = new Downloads(signal);
  const folder = await mkdtemp(join(dirname(target), 'download-'));
  try {
    const expected = checksumIn(await client.text(url + release.checksums(archive)), archive);
    const file = join(folder, 'archive.tar.gz');
    const actual = await client.file(url + archive, file, (done, total) =>
      progress.live(`${name} ${release.version}: ${bar(done, total)} from ${new URL(url).host}`),
    );
    progress.endLive();
    if (actual !== expected) throw new Error(`${archive} has the SHA-256 ${actual}, and ${expected} is published`);
    await run('tar', ['-xzf', file, '-C', folder, release.path(os, arch)]);
    const unpacked = join(folder, release.path(os, arch));
    await chmod(unpacked, 0o755);
    await rename(unpacked, target);
    progress.say(`${name} ${release.version} is downloaded and its checksum is right`);
  } finally {
    progress.endLive();
    await Promise.all([client.close(), rm(folder, { recursive: true, force: true })]);
  }
}
