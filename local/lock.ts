import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { identify, isAlive } from './process-identity.ts';

/**
 * Takes the data directory for this process, so that no two supervisors use it. What a killed one has left is taken over.
 * @returns gives it back
 * @throws when a living supervisor has it
 */
export async function lock(dataDir: string): Promise<() => Promise<void>> {
  const file = join(dataDir, 'lock');
  const mine = `${file}.${process.pid}`;
  await writeFile(mine, JSON.stringify(await identify(process.pid)), { mode: 0o600 });
  try {
    for (;;) {
      // A link, unlike a write, comes into being with its content, and only where there is nothing yet.
      const taken = await link(mine, file).then(
        () => true,
        () => false,
      );
      if (taken) return () => rm(file, { force: true });
      const { pid, stale } = await holder(file);
      if (!stale) {
        throw new Error(`${dataDir} is in use by the process ${pid}: stop that one, or choose another with --data`);
      }
      // Whoever renames it first has the right to remove it; the others look again.
      await rename(file, `${mine}.stale`).catch(() => undefined);
    }
  } finally {
    await Promise.all([rm(mine, { force: true }), rm(`${mine}.stale`, { force: true })]);
  }
}

async function holder(file: string): Promise<{ pid?: number; stale: boolean }> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return { stale: true };
  const { pid, started } = JSON.parse(text) as { pid: number; started: string };
  return { pid, stale: !(await isAlive({ pid, started })) };
}
