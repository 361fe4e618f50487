import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestDatabase } from '../../support/database.ts';

const main = join(import.meta.dirname, '../../../ops/housekeeping/main.ts');

/** Runs the command under the housekeeping role. @returns its last log entry */
export async function runHousekeeping(
  { urls }: TestDatabase,
  env: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  const options = { env: { ...process.env, DATABASE_URL: urls.housekeeping, ...env } };
  const { stdout } = await promisify(execFile)(process.execPath, [main], options);
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, unknown>;
}
