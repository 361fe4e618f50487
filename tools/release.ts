import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const usage = `Usage:
  npm run release -- patch|minor     sets the next version in package, charts and changelog
  npm run release -- check VERSION   fails unless all of them have this version
  npm run release -- notes VERSION   prints the changelog of this version`;

/** What names the version, besides package.json and the changelog. */
const files: readonly (readonly [path: string, release: (text: string, version: string) => string])[] = [
  ...['common', 'member', 'workers', 'family-account'].map((it) => [`charts/${it}/Chart.yaml`, releaseChart] as const),
  ...['database', 'identity-provider'].map((it) => [`k8s/${it}.yaml`, releaseManifest] as const),
];
const UNRELEASED = '## [Unreleased]\n';

/** @throws Error for a version that is not major.minor.patch, or another step than patch and minor */
export function nextVersion(version: string, step: string): string {
  const [major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)$/.exec(version)?.slice(1).map(Number) ?? [];
  if (major === undefined) throw new Error(`${version} is not a version such as 1.2.3`);
  if (step === 'patch') return `${major}.${minor}.${patch! + 1}`;
  if (step === 'minor') return `${major}.${minor! + 1}.0`;
  throw new Error(`Unknown step ${step}: use patch or minor`);
}

/**
 * The changelog with what is unreleased under a version of its own.
 * @param date as yyyy-mm-dd
 * @throws Error when nothing is unreleased
 */
export function releaseChangelog(changelog: string, version: string, date: string): string {
  if (notesOf(changelog, 'Unreleased') === '') throw new Error('CHANGELOG.md has nothing under Unreleased');
  return changelog.replace(UNRELEASED, `${UNRELEASED}\n## [${version}] - ${date}\n`);
}

/** The changelog of one version, without its heading; empty when there is none. */
export function notesOf(changelog: string, version: string): string {
  const section = changelog.split(/^## /m).find((it) => it.startsWith(`[${version}]`));
  return section?.slice(section.indexOf('\n')).trim() ?? '';
}

/** Chart.yaml with its own version, the app's, and that of the library chart. */
export function releaseChart(chart: string, version: string): string {
  return chart
    .replace(/^version: .*/m, `version: ${version}`)
    .replace(/^appVersion: .*/m, `appVersion: ${version}`)
    .replace(/(name: common\n\s+version: ).*/, `$1${version}`);
}

/** A manifest of k8s/ with the image of this version. */
export function releaseManifest(manifest: string, version: string): string {
  return manifest.replace(/(image: member-system:)\d\S*/g, `$1${version}`);
}

/** Where a version other than this one is set, in the tree below `root`. */
export function otherVersions(root: string, version: string): string[] {
  const read = (path: string) => readFileSync(join(root, path), 'utf8');
  const { version: packaged } = JSON.parse(read('package.json')) as { version: string };
  const wrong = packaged === version ? [] : ['package.json'];
  for (const [path, edit] of files) if (read(path) !== edit(read(path), version)) wrong.push(path);
  if (notesOf(read('CHANGELOG.md'), version) === '') wrong.push('CHANGELOG.md');
  return wrong;
}

function release(root: string, step: string): void {
  const edit = (path: string, change: (text: string) => string) =>
    writeFileSync(join(root, path), change(readFileSync(join(root, path), 'utf8')));
  const run = (program: string, ...args: string[]) => execFileSync(program, args, { cwd: root, encoding: 'utf8' });
  if (run('git', 'status', '--porcelain') !== '') throw new Error('Commit or stash your changes first');
  const version = nextVersion(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version, step);
  edit('CHANGELOG.md', (text) => releaseChangelog(text, version, new Date().toISOString().slice(0, 10)));
  for (const [path, change] of files) edit(path, (text) => change(text, version));
  run('npm', 'version', version, '--no-git-tag-version');
  process.stdout.write(`Version ${version} is set. Next:
  npm test && git commit --all --message "Release ${version}"
  git tag v${version} && git push origin main v${version}
`);
}

function main([command = '', version = '']: string[]): void {
  const root = join(import.meta.dirname, '..');
  if (command === 'patch' || command === 'minor') release(root, command);
  else if (command === 'check' && version) {
    const wrong = otherVersions(root, version);
    if (wrong.length > 0) throw new Error(`Not at version ${version}: ${wrong.join(', ')}`);
  } else if (command === 'notes' && version) {
    const notes = notesOf(readFileSync(join(root, 'CHANGELOG.md'), 'utf8'), version);
    if (notes === '') throw new Error(`CHANGELOG.md has no version ${version}`);
    process.stdout.write(`${notes}\n`);
  } else throw new Error(usage);
}

if (import.meta.main) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  }
}
