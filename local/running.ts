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
  /** `starting` until it says that it is ready; `waiting` when it has died and is about to be started again. */
  state: z.enum(['starting', 'running', 'waiting', 'ended']),
  ports: z.record(z.string(), z.int()),
  /** With which it ends in good order. */
  stopSignal: z.enum(['SIGTERM', 'SIGINT']),
  /** How often it was started again. */
  restarts: z.int(),
  log: z.string(),
});

const runningSchema = z.object({
  supervisor: processIdentity,
  startedAt: z.iso.datetime(),
  memberUrl: z.string(),
  familyAccountUrl: z.string(),
  memberOperatorToken: z.string(),
  familyAccountOperatorToken: z.string(),
  databases: z.object({ superuser: z.string(), member: systemUrls, familyAccount: systemUrls }),
  brokerUrl: z.string(),
  processes: z.record(z.string(), runningProcess),
});

/** What `npm start` runs right now. Holds credentials: only its owner may read the file. */
export type Running = z.infer<typeof runningSchema>;
export type RunningProcess = z.infer<typeof runningProcess>;

const fileIn = (dataDir: string): string => join(dataDir, 'running.json');

/** @throws when nothing runs in this data directory */
export async function readRunning(dataDir: string): Promise<Running> {
  const text = await readFile(fileIn(dataDir), 'utf8').catch((error: unknown) => {
    throw new Error(`Nothing runs in ${dataDir}: start it with npm start`, { cause: error });
  });
  return runningSchema.parse(JSON.parse(text));
}

/** Replaces the whole file at once, so that nobody reads half of it; before anything else happens, so that what runs is never missing from it. */
export function writeRunning(dataDir: string, running: Running): void {
  const temporary = `${fileIn(dataDir)}.new`;
  writeFileSync(temporary, `${JSON.stringify(running, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, fileIn(dataDir));
}

export function removeRunning(dataDir: string): void {
  rmSync(fileIn(dataDir), { force: true });
}
