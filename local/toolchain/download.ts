import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { EnvHttpProxyAgent, fetch, type Response } from 'undici';
import { bar, type Progress } from '../progress.ts';
import type { Release } from './programs.ts';

const run = promisify(execFile);

/**
 * Downloads the program's official release for this machine, verifies its SHA-256, and moves it to `target` atomically.
 * @param url base URL of the release's files (default that of the release)
 * @throws Error if there is no release for this machine, no connection within 5 s, or the checksum differs
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
    if (actual !== expected) throw new Error(`${archive}: SHA-256 is ${actual}, published is ${expected}`);
    await run('tar', ['-xzf', file, '-C', folder, release.path(os, arch)]);
    const program = join(folder, release.path(os, arch));
    await chmod(program, 0o755);
    await rename(program, target);
    progress.print(`${name} ${release.version} downloaded from ${new URL(url).host}, checksum verified`);
  } finally {
    progress.endLive();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Returns Go's names for this machine, which release files are named after. */
function goPlatform(): [os: string, arch: string] {
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch as string];
  if (!arch || !['linux', 'darwin'].includes(process.platform)) {
    throw new Error(`there is no release for ${process.platform} on ${process.arch}`);
  }
  return [process.platform, arch];
}

function openFiles(signal: AbortSignal) {
  // Short timeouts: building with Go is tried only after the download has failed.
  const dispatcher = new EnvHttpProxyAgent({
    connect: { timeout: 5_000 },
    headersTimeout: 15_000,
    bodyTimeout: 30_000,
  });
  return {
    /** @throws Error with the URL and the reason */
    async get(url: string): Promise<Response> {
      const response = await fetch(url, { dispatcher, signal }).catch((error: Error) => {
        throw new Error(`${url} cannot be reached (${(error.cause as Error | undefined)?.message ?? error.message})`);
      });
      if (!response.ok) throw new Error(`${url} returned ${response.status}`);
      return response;
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

/** Writes the response body to a file. @returns its SHA-256 in hexadecimal digits */
async function save(
  { body, headers }: Response,
  file: string,
  show: (done: number, of: number) => void,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256');
  const size = Number(headers.get('content-length') ?? 0);
  let done = 0;
  const hashed = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      hash.update(chunk);
      done += chunk.length;
      show(done, size);
      yield chunk;
    }
  };
  await pipeline(Readable.fromWeb(body!), hashed, createWriteStream(file), { signal });
  return hash.digest('hex');
}

/**
 * Finds the SHA-256 of a file in the output of `sha256sum`. A single checksum may stand there without a file name.
 * @throws Error if there is none
 */
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
