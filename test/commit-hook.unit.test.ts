import { spawnSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './support/folder.ts';
import { root } from './support/stack.ts';

/** Runs the hook on a commit message. */
async function hook(message: string): Promise<{ status: number | null; stderr: string }> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'COMMIT_EDITMSG');
  writeFileSync(file, message);
  const { status, stderr } = spawnSync(join(root, '.githooks/commit-msg'), [file], { encoding: 'utf8' });
  return { status, stderr };
}

test.each([
  ['of 72 characters', 'a'.repeat(72)],
  ['of 72 characters in more bytes', 'é'.repeat(72)],
  ['after comments, with a long body', `# ${'c'.repeat(100)}\n\nSay why\n\n${'b'.repeat(100)}\n`],
])('the commit hook accepts a subject %s', async (_, message) => {
  expect(await hook(message)).toEqual({ status: 0, stderr: '' });
});

test('the commit hook refuses a longer subject and names the remedy', async () => {
  const { status, stderr } = await hook(`${'a'.repeat(73)}\n\nBecause.\n`);
  expect(status).toBe(1);
  expect(stderr).toContain('The subject has 73 characters, of 72 at most. The reason goes into the body.');
});

test('the commit hook refuses a staged file that is not formatted', async () => {
  await using folder = await temporaryFolder();
  // Within another hook, git's variables name the repository of the developer.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('GIT_')));
  const options = { cwd: folder.path, env, encoding: 'utf8' } as const;
  const git = (...args: string[]) => spawnSync('git', args, options);
  git('init', '--quiet');
  for (const name of ['biome.json', 'node_modules']) symlinkSync(join(root, name), join(folder.path, name));
  const stage = (code: string) => {
    writeFileSync(join(folder.path, 'staged.ts'), code);
    git('add', 'staged.ts');
    return spawnSync(join(root, '.githooks/pre-commit'), [], options);
  };
  expect(stage('export const a   = 1')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('Formatter would have printed'),
  });
  expect(stage('export const a = 1;\n')).toMatchObject({ status: 0 });
});
