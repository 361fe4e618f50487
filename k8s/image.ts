import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** The image that the charts and k8s/ name when they are told of no other. */
export const RELEASE_IMAGE = `member-system:${version}`;

/** All that an image is made of: package.json has its map of imports, too. */
export const SOURCES = ['Dockerfile', '.dockerignore', 'package.json', 'package-lock.json', 'lib', 'services'] as const;

/** The same with a tag that says what is in it, so that a cluster replaces pods when, and only when, something has changed. */
export const IMAGE = `${RELEASE_IMAGE}-${digestOf(root, SOURCES)}`;

/** A short digest of files and of what is in folders, names included. */
export function digestOf(folder: string, sources: readonly string[]): string {
  const digest = createHash('sha256');
  for (const source of sources) {
    const path = join(folder, source);
    const files = statSync(path).isDirectory() ? readdirSync(path, { recursive: true, withFileTypes: true }) : [];
    const names = files.filter((it) => it.isFile()).map((it) => join(it.parentPath, it.name));
    for (const name of files.length > 0 ? names.sort() : [path])
      digest.update(relative(folder, name)).update(readFileSync(name));
  }
  return digest.digest('hex').slice(0, 12);
}

const builders = [
  { name: 'docker', command: ['docker', 'build'] },
  { name: 'podman', command: ['podman', 'build', '--format', 'docker'] },
  { name: 'buildah', command: ['buildah', 'build', '--layers', '--format', 'docker'] },
] as const;

/**
 * Builds the one image of all programs with the first of docker, podman and buildah that works here.
 * @param tree of which sources
 * @returns the builder's name
 * @throws when there is none, or it fails
 */
export function buildImage(tag: string, tree: string = root): string {
  const builder = builders.find(({ name }) => spawnSync(name, ['info'], { stdio: 'ignore' }).status === 0);
  if (!builder) throw new Error(`To build the image, install ${builders.map(({ name }) => name).join(', ')} (any one)`);
  const [program, ...args] = builder.command;
  const build = [...args, '--tag', tag, ...labels(tree), tree];
  const { status } = spawnSync(program!, build, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${builder.name} could not build ${tag}`);
  return builder.name;
}

/** What the image says of itself. */
export function labels(tree: string = root): string[] {
  const git = (...args: string[]) => {
    try {
      return execFileSync('git', ['-C', tree, ...args], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch {
      return '';
    }
  };
  const revision = git('rev-parse', 'HEAD') + (git('status', '--porcelain') ? '-modified' : '');
  return ['--build-arg', `VERSION=${version}`, '--build-arg', `REVISION=${revision || 'unknown'}`];
}

// `npm run image [-- --tag NAME:TAG]`
if (import.meta.main) {
  const { values } = parseArgs({ options: { tag: { type: 'string', default: RELEASE_IMAGE } } });
  try {
    process.stdout.write(`${values.tag} was built by ${buildImage(values.tag)}.\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
