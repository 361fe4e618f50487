import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** Default image of the charts and of k8s/. */
export const RELEASE_IMAGE = `member-system:${version}`;

/** Sources of the image. package.json is one, since it has the map of imports. */
export const SOURCES = [
  'Dockerfile',
  '.dockerignore',
  'package.json',
  'package-lock.json',
  'lib',
  'ops',
  'services',
] as const;

/** The image with a digest of its sources in the tag, so that pods are replaced only when the sources have changed. */
export const IMAGE = `${RELEASE_IMAGE}-${digestOf(root, SOURCES)}`;

/** Returns a short digest of the names and contents of files, and of all files in folders. */
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
 * Builds the image of all programs with docker, podman or buildah, whichever works first.
 * @param tree source folder (default this project)
 * @returns the builder's name
 * @throws Error if there is no builder, or the build fails
 */
export function buildImage(tag: string, tree: string = root): string {
  const builder = builders.find(({ name }) => spawnSync(name, ['info'], { stdio: 'ignore' }).status === 0);
  if (!builder) throw new Error(`Cannot build an image: install one of ${builders.map(({ name }) => name).join(', ')}`);
  const [program, ...args] = builder.command;
  const build = [...args, '--tag', tag, ...labels(tree), tree];
  const { status } = spawnSync(program!, build, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${builder.name} failed to build ${tag}`);
  return builder.name;
}

/** Returns the build arguments for the image's labels: version and revision. */
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
