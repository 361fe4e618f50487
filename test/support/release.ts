import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { root } from './stack.ts';

/** What is out there, and has to bear our migrations: the commit of the last release. To be set when one is made. */
export const LAST_RELEASE = 'dc51c7ab95b46f6ff4e50d2a0a71a976bd16c5de';

/** The same with charts, which no release has had yet: a commit that people can have installed. The last release, once that has them. */
export const LAST_CHARTS = 'e3742c02783ce0887d328ba4b4e81b3bfe25ba9d';

const run = promisify(execFile);

/** Lays a commit's tree into a new folder. @throws with what to do, when the history does not go back so far */
export async function checkOut(commit: string, target: string): Promise<string> {
  await mkdir(target);
  await run('git', ['-C', root, 'archive', '--output', `${target}.tar`, commit]).catch((error: Error) => {
    throw new Error(
      `This test needs the last release (${commit}) from git's history: git fetch --unshallow. ${error.message}`,
    );
  });
  await run('tar', ['-xf', `${target}.tar`, '-C', target]);
  return target;
}
