import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeDaprConfigurations } from '../../../local/topology/sidecar.ts';

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'sidecar-'));
});
afterEach(() => rm(dataDir, { recursive: true }));

test('sidecar addresses of an earlier run are deleted, and the file is private', async () => {
  const names = join(dataDir, 'dapr-names.db');
  for (const part of ['', '-wal', '-shm']) await writeFile(`${names}${part}`, 'earlier');
  await writeDaprConfigurations(dataDir);
  expect(await readFile(names, 'utf8')).toBe('');
  expect((await stat(names)).mode & 0o777).toBe(0o600);
  for (const part of ['-wal', '-shm']) await expect(stat(`${names}${part}`)).rejects.toThrow('ENOENT');
});

test('only the sidecars of invocable apps accept invocations', async () => {
  const { invocable, closed } = await writeDaprConfigurations(dataDir);
  const accessControl = async (file: string) => JSON.parse(await readFile(file, 'utf8')).spec.accessControl;
  expect(await accessControl(invocable)).toBeUndefined();
  expect(await accessControl(closed)).toEqual({ defaultAction: 'deny', trustDomain: 'public' });
});
