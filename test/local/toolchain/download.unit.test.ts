import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Progress } from '../../../local/progress.ts';
import { download, publishedChecksum } from '../../../local/toolchain/download.ts';
import { natsServer } from '../../../local/toolchain/programs.ts';
import { temporaryFolder } from '../../support/folder.ts';

const arch = process.arch === 'x64' ? 'amd64' : 'arm64';
const archive = natsServer.release.archive(process.platform, arch);
const output: string[] = [];
const progress = {
  print: (text: string) => output.push(text),
  live: (text: string) => output.push(text),
  endLive: () => undefined,
} as unknown as Progress;

/** Serves a release as GitHub does. @param checksum the published one (default: the archive's) */
async function release(folder: string, checksum?: string): Promise<{ url: string; server: Server }> {
  const program = natsServer.release.path(process.platform, arch);
  mkdirSync(join(folder, 'in', program, '..'), { recursive: true });
  writeFileSync(join(folder, 'in', program), '#!/bin/sh\necho nats-server: v2.15.2\n');
  execFileSync('tar', ['-czf', join(folder, archive), '-C', join(folder, 'in'), program]);
  const content = readFileSync(join(folder, archive));
  const actual = createHash('sha256').update(content).digest('hex');
  const files: Record<string, Buffer | string> = {
    [`/${archive}`]: content,
    '/SHA256SUMS': `${'0'.repeat(64)}  another.zip\n${checksum ?? actual}  ${archive}\n`,
  };
  const server = createServer((request, response) => {
    const file = files[request.url ?? ''];
    response.writeHead(file ? 200 : 404, file ? { 'content-length': file.length } : {}).end(file);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server };
}

async function downloaded(checksum?: string, path = ''): Promise<{ left: string[]; content?: string; error?: Error }> {
  await using folder = await temporaryFolder();
  const { url, server } = await release(folder.path, checksum);
  const cache = join(folder.path, 'cache');
  mkdirSync(cache);
  const target = join(cache, 'nats-server');
  try {
    await download(natsServer, target, progress, new AbortController().signal, url + path);
    return { left: readdirSync(cache), content: readFileSync(target, 'utf8') };
  } catch (error) {
    return { left: readdirSync(cache), error: error as Error };
  } finally {
    server.close();
  }
}

test('a release with the published checksum is unpacked into the cache', async () => {
  const { left, content } = await downloaded();
  expect(left).toEqual(['nats-server']);
  expect(content).toContain('echo nats-server');
  expect(output.join('\n')).toMatch(/\[#{30}\].*\n.*checksum verified/);
});

test('a release with another checksum is refused and leaves nothing behind', async () => {
  const { left, error } = await downloaded('f'.repeat(64));
  expect(error?.message).toMatch(/SHA-256 is [0-9a-f]{64}, published is f{64}/);
  expect(left).toEqual([]);
});

test('a missing release is named in the error', async () => {
  const { left, error } = await downloaded(undefined, 'gone/');
  expect(error?.message).toMatch(/gone\/SHA256SUMS returned 404/);
  expect(left).toEqual([]);
});

test('an unreachable server is named in the error, with the reason', async () => {
  await using folder = await temporaryFolder();
  const { url, server } = await release(folder.path);
  server.close();
  const attempt = download(natsServer, join(folder.path, 'x'), progress, new AbortController().signal, url);
  await expect(attempt).rejects.toThrow(/SHA256SUMS cannot be reached \(.*ECONNREFUSED/);
});

test('the checksum of a file is the one beside its name, or the only one', () => {
  const [one, two] = ['1'.repeat(64), '2'.repeat(64)];
  expect(publishedChecksum(`${one}  a.tar.gz\n${two} *b.tar.gz\n`, 'b.tar.gz')).toBe(two);
  expect(publishedChecksum(`${one}\n`, 'a.tar.gz')).toBe(one);
  expect(() => publishedChecksum(`${one}  a.tar.gz\n`, 'b.tar.gz')).toThrow('no SHA-256 of b.tar.gz is published');
  expect(() => publishedChecksum('<html>', 'a.tar.gz')).toThrow('no SHA-256');
});
