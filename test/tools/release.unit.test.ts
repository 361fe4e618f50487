import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nextVersion, notesOf, otherVersions, releaseChangelog } from '../../tools/release.ts';
import { temporaryFolder } from '../support/folder.ts';

const root = join(import.meta.dirname, '../..');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const changelog = '# Changelog\n\n## [Unreleased]\n\n### Added\n\n* New.\n\n## [0.1.0] - 2026-01-01\n\n* Old.\n';

test.each([
  ['patch', '1.2.4'],
  ['minor', '1.3.0'],
])('the next %s version of 1.2.3 is %s', (step, next) => {
  expect(nextVersion('1.2.3', step)).toBe(next);
});

test('an unknown step and an unknown form of version are refused', () => {
  expect(() => nextVersion('1.2.3', 'major')).toThrow('use patch or minor');
  expect(() => nextVersion('1.2', 'patch')).toThrow('not a version');
});

test('a release moves what is unreleased under its version and leaves an empty Unreleased', () => {
  const released = releaseChangelog(changelog, '0.2.0', '2026-02-03');
  expect(released).toContain('## [Unreleased]\n\n## [0.2.0] - 2026-02-03\n\n### Added\n\n* New.');
  expect([notesOf(released, 'Unreleased'), notesOf(released, '0.2.0')]).toEqual(['', '### Added\n\n* New.']);
  expect(notesOf(released, '0.1.0')).toBe('* Old.');
  expect(() => releaseChangelog(released, '0.3.0', '2026-02-04')).toThrow('nothing under Unreleased');
});

test('package, charts, manifests and changelog have one version', () => {
  expect(otherVersions(root, version)).toEqual([]);
});

test('npm run release sets the version everywhere', async () => {
  await using folder = await temporaryFolder();
  const copy = folder.path;
  for (const path of ['package.json', 'package-lock.json', 'charts', 'k8s', 'CHANGELOG.md', 'tools/release.ts'])
    cpSync(join(root, path), join(copy, path), { recursive: true, verbatimSymlinks: true });
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@example.com', ...args], { cwd: copy });
  const release = () =>
    execFileSync('node', ['tools/release.ts', 'minor'], { cwd: copy, encoding: 'utf8', stdio: 'pipe' });
  git('init', '--quiet');
  git('add', '.');
  expect(release).toThrow('Commit or stash your changes first');
  git('commit', '--quiet', '--message', 'before');
  const next = nextVersion(version, 'minor');
  expect(release()).toContain(`git tag v${next}`);
  expect(otherVersions(copy, next)).toEqual([]);
  expect(otherVersions(copy, version)).toEqual([
    'package.json',
    ...['common', 'member', 'workers', 'family-account'].map((chart) => `charts/${chart}/Chart.yaml`),
    ...['database', 'identity-provider'].map((name) => `k8s/${name}.yaml`),
  ]);
});
