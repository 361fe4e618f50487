import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../local/binaries.ts';

const run = promisify(execFile);
const requirements = join(import.meta.dirname, '../../tools/python/requirements.txt');

/**
 * Python with the packages of tools/python/requirements.txt, in the cache folder, made when it is not there yet.
 * @param program one of the programs that the packages bring; Python itself unless told
 * @returns the program's path
 * @throws with what to install, when there is no Python from 3.10, or with what pip said
 */
export async function python(program = 'python'): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 8);
  const folder = join(cacheFolder(), `python-${process.platform}-${process.arch}-${digest}`);
  // Its programs name the folder that they are in, so it is made in its place; the mark says that it is whole.
  const done = join(folder, 'whole');
  if (!existsSync(done)) {
    await rm(folder, { recursive: true, force: true });
    await run('python3', ['-c', 'import sys; assert sys.version_info >= (3, 10)']).catch((error: Error) => {
      throw new Error(`The long tests need python3, from 3.10, with venv: ${error.message}`);
    });
    await run('python3', ['-m', 'venv', folder]);
    await run(join(folder, 'bin/pip'), ['install', '--quiet', '--requirement', requirements], { timeout: 300_000 });
    await writeFile(done, '');
  }
  return join(folder, 'bin', program);
}
