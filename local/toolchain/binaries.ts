import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { access, constants, mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import type { Progress } from '../progress.ts';
import { download } from './download.ts';
import { goBuild, moduleFolder } from './go-build.ts';
import type { Program, Release } from './programs.ts';

const run = promisify(execFile);

/**
 * Finds a program on the PATH or in `~/.dapr/bin`, else in the cache, else downloads the official release into the
 * cache, else builds it there with Go. Prints which program is used, and which were skipped and why.
 * @returns its path
 * @throws Error that lists each attempt with its failure, and what to install
 */
export async function findProgram(program: Program, progress: Progress, signal: AbortSignal): Promise<string> {
  const { name, advice } = program;
  const installed = (await onPath(program, progress)) ?? (await inCache(program));
  if (installed) {
    progress.print(`${name} ${installed.version}: ${installed.path}`);
    return installed.path;
  }
  await mkdir(cacheFolder(), { recursive: true });
  const failures: string[] = [];
  const { release } = program;
  const sources = [
    ...(release ? [{ title: 'download', target: downloaded({ name, release }), get: downloading(release) }] : []),
    { title: 'build', target: built(program), get: goBuild },
  ];
  for (const { title, target, get } of sources) {
    try {
      await get(program, target, progress, signal);
      if (await versionOf(target, program)) return target;
      throw new Error('the program does not run on this machine');
    } catch (error) {
      signal.throwIfAborted();
      failures.push(`${title}: ${(error as Error).message}`);
      progress.print(`${name}: ${title} failed: ${(error as Error).message}`);
    }
  }
  throw new Error(`Cannot find, download or build ${name}.\n  ${failures.join('\n  ')}\nTo fix this: ${advice}.`);
}

interface Found {
  readonly path: string;
  readonly version: string;
}

async function onPath(program: Program, progress: Progress): Promise<Found | undefined> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), join(homedir(), '.dapr/bin')];
  for (const folder of new Set(folders.filter(Boolean))) {
    const path = join(folder, program.name);
    const isExecutable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (!isExecutable) continue;
    const version = await versionOf(path, program);
    if (version && isRecent(version, program.oldest)) return { path, version };
    progress.print(`Skipping ${path}: version ${version ?? 'unknown'}, need ${program.oldest} or newer, same major`);
  }
  return undefined;
}

async function inCache(program: Program): Promise<Found | undefined> {
  const { name, release } = program;
  for (const path of [...(release ? [downloaded({ name, release })] : []), built(program)]) {
    const version = await versionOf(path, program);
    if (version) return { path, version };
  }
  return undefined;
}

/** Runs the program to read its version. @returns undefined if it does not run */
async function versionOf(
  path: string,
  { versionArguments = ['--version'] }: Pick<Program, 'versionArguments'>,
): Promise<string | undefined> {
  const { stdout } = await run(path, [...versionArguments], { timeout: 10_000 }).catch(() => ({ stdout: '' }));
  return stdout.match(/\d+\.\d+\.\d+/)?.[0];
}

/** Whether a version has the same major number and is not older. */
export function isRecent(version: string, oldest: string): boolean {
  const [major, minor, patch] = version.split('.').map(Number) as [number, number, number];
  const [oldestMajor, oldestMinor, oldestPatch] = oldest.split('.').map(Number) as [number, number, number];
  return major === oldestMajor && (minor > oldestMinor || (minor === oldestMinor && patch >= oldestPatch));
}

/** Folder of the downloaded and built programs, shared by all copies of this project. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.MEMBER_SYSTEM_CACHE) return env.MEMBER_SYSTEM_CACHE;
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, 'member-system');
  return join(homedir(), process.platform === 'darwin' ? 'Library/Caches' : '.cache', 'member-system');
}

const downloading =
  (release: Release): typeof goBuild =>
  ({ name }, target, progress, signal) =>
    download({ name, release }, target, progress, signal);

const downloaded = ({ name, release }: { name: string; release: Release }): string =>
  join(cacheFolder(), `${name}-${release.version}-${process.platform}-${process.arch}`);

/** Path of the built program. It has a digest of the Go module, so that a change of the module causes a rebuild. */
function built({ name, build }: Program): string {
  const folder = moduleFolder(build.module);
  const source = createHash('sha256');
  for (const file of readdirSync(folder).sort()) source.update(readFileSync(join(folder, file)));
  const digest = source.update(build.arguments.join(' ')).digest('hex').slice(0, 8);
  return join(cacheFolder(), `${name}-${build.version}-${process.platform}-${process.arch}-built-${digest}`);
}
