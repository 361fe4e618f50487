import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const systemUrls = z.object({
  owner: z.string(),
  app: z.string(),
  relay: z.string(),
  housekeeping: z.string(),
  readonly: z.string(),
});

const processIdentity = z.object({ pid: z.int(), command: z.string(), started: z.string() });

const runningProcess = processIdentity.extend({
  /** `starting` until ready; `waiting` after an exit, until the restart. */
  state: z.enum(['starting', 'running', 'waiting', 'ended']),
  ports: z.record(z.string(), z.int()),
  /** Signal for a graceful stop. */
  stopSignal: z.enum(['SIGTERM', 'SIGINT']),
  /** Number of restarts. */
  restarts: z.int(),
  log: z.string(),
});

const runningFields = z.object({
  supervisor: processIdentity,
  startedAt: z.iso.datetime(),
  memberUrl: z.string(),
  familyAccountUrl: z.string(),
  memberOperationsUrl: z.string().optional(),
  familyAccountOperationsUrl: z.string().optional(),
  memberOperatorToken: z.string(),
  familyAccountOperatorToken: z.string(),
  databases: z.object({ superuser: z.string(), member: systemUrls, familyAccount: systemUrls }),
  brokerUrl: z.string(),
  processes: z.record(z.string(), runningProcess),
});

// A file of an earlier release has no operations URLs: there the API's only port served operators too.
const runningSchema = runningFields.transform((running) => ({
  ...running,
  memberOperationsUrl: running.memberOperationsUrl ?? running.memberUrl,
  familyAccountOperationsUrl: running.familyAccountOperationsUrl ?? running.familyAccountUrl,
}));

/** State of the system that `npm start` runs. Contains credentials, so only its owner may read the file. */
export type Running = z.infer<typeof runningSchema>;
export type RunningProcess = z.infer<typeof runningProcess>;

const fileIn = (dataDir: string): string => join(dataDir, 'running.json');

/** Reads `running.json`. @throws Error if no system runs in this data directory */
export async function readRunning(dataDir: string): Promise<Running> {
  const text = await readFile(fileIn(dataDir), 'utf8').catch((error: unknown) => {
    throw new Error(`Nothing runs in ${dataDir}: start it with npm start`, { cause: error });
  });
  return runningSchema.parse(JSON.parse(text));
}

/**
 * Replaces the file atomically. Synchronous, so that no running process is missing from it, even after `kill -9` of the
 * supervisor.
 */
export function writeRunning(dataDir: string, running: Running): void {
  const temporary = `${fileIn(dataDir)}.new`;
  writeFileSync(temporary, `${JSON.stringify(running, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, fileIn(dataDir));
}

export function removeRunning(dataDir: string): void {
  rmSync(fileIn(dataDir), { force: true });
}
