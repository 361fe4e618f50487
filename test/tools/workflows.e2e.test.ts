import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { actionlint } from '../../local/toolchain/programs.ts';
import { programPath } from '../support/helm.ts';

const root = join(import.meta.dirname, '../..');

test('actionlint finds no problem in the GitHub workflows', async () => {
  const lint = promisify(execFile)(await programPath(actionlint), ['-no-color', '-oneline'], { cwd: root });
  const output = await lint.then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );
  expect(output).toBe('');
});
