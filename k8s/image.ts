import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** The image that the charts name when they are told of no other. */
export const IMAGE = `member-system:${version}`;

const builders = [
  { name: 'docker', command: ['docker', 'build'] },
  { name: 'podman', command: ['podman', 'build', '--format', 'docker'] },
  { name: 'buildah', command: ['buildah', 'build', '--layers', '--format', 'docker'] },
] as const;

/**
 * Builds the one image of all programs with the first of docker, podman and buildah that works here.
 * @returns the builder's name
 * @throws when there is none, or it fails
 */
export function buildImage(tag: string): string {
  const builder = builders.find(({ name }) => spawnSync(name, ['info'], { stdio: 'ignore' }).status === 0);
  if (!builder) throw new Error(`To build the image, install ${builders.map(({ name }) => name).join(', ')} (any one)`);
  const [program, ...args] = builder.command;
  const build = [...args, '--tag', tag, ...labels(), root];
  const { status } = spawnSync(program!, build, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${builder.name} could not build ${tag}`);
  return builder.name;
}

/** What the image says of itself. */
export function labels(): string[] {
  const git = (...args: string[]) => {
    try {
      return execFileSync('git', ['-C', root, ...args], {
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
  const { values } = parseArgs({ options: { tag: { type: 'string', default: IMAGE } } });
  try {
    process.stdout.write(`${values.tag} was built by ${buildImage(values.tag)}.\n`);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
