import { execFile } from 'node:child_process';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from './stack.ts';

/** Commit of the last release, whose code has to work with the current migrations. Set it at each release. */
export const LAST_RELEASE = 'dc51c7ab95b46f6ff4e50d2a0a71a976bd16c5de';

/** Commit of charts that users may have installed, since no release has charts yet. The last release, once that has charts. */
export const LAST_CHARTS = 'e3742c02783ce0887d328ba4b4e81b3bfe25ba9d';

const run = promisify(execFile);

/** Extracts a commit's tree into a new folder. @throws with the remedy when the clone is too shallow */
export async function checkOut(commit: string, target: string): Promise<string> {
  await mkdir(target);
  await run('git', ['-C', root, 'archive', '--output', `${target}.tar`, commit]).catch((error: Error) => {
    throw new Error(
      `This test needs the last release (${commit}) in git's history. Run git fetch --unshallow. ${error.message}`,
    );
  });
  await run('tar', ['-xf', `${target}.tar`, '-C', target]);
  return target;
}

/** Extracts the last release's tree into a new folder of `folder`, where it runs with this tree's packages. @returns the tree's path */
export async function checkOutLastRelease(folder: string): Promise<string> {
  const tree = await checkOut(LAST_RELEASE, join(folder, 'last-release'));
  await symlink(join(root, 'node_modules'), join(tree, 'node_modules'));
  return tree;
}
