import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../local/toolchain/binaries.ts';

const run = promisify(execFile);
const requirements = join(import.meta.dirname, '../../tools/python/requirements.txt');

/**
 * Returns the path of Python with the packages of tools/python/requirements.txt. The first call installs them in the cache folder.
 * @param program one of the packages' programs (default: Python itself)
 * @returns the program's path
 * @throws with what to install when there is no Python 3.10 or newer, or with pip's message
 */
export async function python(program = 'python'): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 8);
  const folder = join(cacheFolder(), `python-${process.platform}-${process.arch}-${digest}`);
  // The programs contain the folder's path, so it is created in place; a marker file shows that it is complete.
  const done = join(folder, 'whole');
  if (!existsSync(done)) {
    await rm(folder, { recursive: true, force: true });
    await run('python3', ['-c', 'import sys; assert sys.version_info >= (3, 10)']).catch((error: Error) => {
      throw new Error(`The long tests need python3, 3.10 or newer, with venv: ${error.message}`);
    });
    await run('python3', ['-m', 'venv', folder]);
    await run(join(folder, 'bin/pip'), ['install', '--quiet', '--requirement', requirements], { timeout: 300_000 });
    await writeFile(done, '');
  }
  return join(folder, 'bin', program);
}
