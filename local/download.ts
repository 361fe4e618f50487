import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { EnvHttpProxyAgent, fetch, type Response } from 'undici';
import type { Release } from './programs.ts';
import { bar, type Progress } from './progress.ts';

const run = promisify(execFile);

/**
 * Downloads the program's official release for this machine, and puts it at `target` when its SHA-256 is the published one. `target` comes
 * into being whole or not at all.
 * @param url where the release's files lie, for tests
 * @throws when there is no release for this machine, no connection within 5 s, or another checksum
 */
export async function download(
  { name, release }: { name: string; release: Release },
  target: string,
  progress: Progress,
  signal: AbortSignal,
  url: string = release.url,
): Promise<void> {
  const [os, arch] = goPlatform();
  const archive = release.archive(os, arch);
  await using files = openFiles(signal);
  const folder = await mkdtemp(join(dirname(target), 'download-'));
  try {
    const checksums = await (await files.get(url + release.checksums(archive))).text();
    const response = await files.get(url + archive);
    const file = join(folder, 'archive.tar.gz');
    const show = (done: number, of: number) => progress.live(`${name} ${release.version}  ${bar(done, of)}`);
    const actual = await save(response, file, show, signal);
    const expected = publishedChecksum(checksums, archive);
    if (actual !== expected) throw new Error(`${archive} has the SHA-256 ${actual}, and ${expected} is published`);
    await run('tar', ['-xzf', file, '-C', folder, release.path(os, arch)]);
    const program = join(folder, release.path(os, arch));
    await chmod(program, 0o755);
    await rename(program, target);
    progress.say(`${name} ${release.version} is downloaded from ${new URL(url).host}, and its checksum is right`);
  } finally {
    progress.endLive();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Go's names for this machine, which are in the names of the releases. */
function goPlatform(): [os: string, arch: string] {
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  if (!arch || !['linux', 'darwin'].includes(process.platform)) {
    throw new Error(`there is no release for ${process.platform} on ${process.arch}`);
  }
  return [process.platform, arch];
}

function openFiles(signal: AbortSignal) {
  // Short, since the next way to get the program is waiting for this one to fail.
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: 5_000 },
    headersTimeout: 15_000,
    bodyTimeout: 30_000,
  });
  return {
    /** @throws what was asked for and why there is none */
    async get(url: string): Promise<Response> {
      const response = await fetch(url, { dispatcher, signal }).catch((error: Error) => {
        throw new Error(`${url} cannot be reached (${(error.cause as Error | undefined)?.message ?? error.message})`);
      });
      if (!response.ok) throw new Error(`${url} answers ${response.status}`);
      return response;
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

/** Writes what is answered to a file; answers its SHA-256 in hexadecimal digits. */
async function save(
  { body, headers }: Response,
  file: string,
  show: (done: number, of: number) => void,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256');
  const size = Number(headers.get('content-length') ?? 0);
  let done = 0;
  const watched = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      done += chunk.length;
      show(done, size);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(body!), watched, createWriteStream(file), { signal });
  return hash.digest('hex');
}

/** The checksum of a file, from lines such as those of `sha256sum`; a file with one checksum only need not name what it is of. */
export function publishedChecksum(text: string, name: string): string {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+\*?/));
  const line =
    lines.find((words) => words[1] === name) ?? (lines.length === 1 && lines[0]!.length === 1 ? lines[0] : []);
  const checksum = line?.[0]?.toLowerCase() ?? '';
  if (!/^[0-9a-f]{64}$/.test(checksum)) throw new Error(`no SHA-256 of ${name} is published`);
  return checksum;
}
