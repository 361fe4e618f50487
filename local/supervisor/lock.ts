import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;

/**
 * Locks the data directory for this process, so that only one supervisor uses it; disposing releases the lock. SQLite's
 * file lock is used, which the kernel releases however the process ends: a marker file would outlive `kill -9`.
 * @throws Error with the process id of the holder, if another process holds the lock
 */
export function lock(dataDir: string): Disposable {
  const database = new DatabaseSync(join(dataDir, 'lock'));
  const holder = join(dataDir, 'lock.pid');
  try {
    database.exec('begin exclusive');
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
    const pid = readFileSync(holder, 'utf8');
    throw new Error(`${dataDir} is in use by the process ${pid}: stop it, or choose another directory with --data`);
  }
  writeFileSync(holder, `${process.pid}`);
  return { [Symbol.dispose]: () => database.close() };
}
