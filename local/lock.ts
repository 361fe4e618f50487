import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;

/**
 * Takes the data directory for this process, so that no two supervisors use it; disposing gives it back. The lock is SQLite's on its file: the
 * kernel holds it for the process and drops it with the process, however that ends, which no file made to mean "taken" can promise.
 * @throws when another process has it
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
