import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSystem, startPostgres } from '../../local/topology/postgres.ts';
import { templates } from './templates.ts';

/** Starts one real PostgreSQL for all integration tests and migrates a template database for each system; tests clone them. */
export default async function setUp(): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'member-system-test-'));
  const postgres = await startPostgres({ dataDir: join(dataDir, 'postgres'), log: () => undefined });
  (globalThis as { testPostgres?: unknown }).testPostgres = { postgres, dataDir };
  const systems: Record<string, unknown> = {};
  for (const [database, { roles, migrate }] of Object.entries(templates)) {
    const urls = await createSystem(postgres.superuserUrl, { database, rolePrefix: roles });
    await migrate(urls.owner);
    systems[database] = urls;
  }
  process.env.TEST_POSTGRES = JSON.stringify({ superuserUrl: postgres.superuserUrl, systems });
}
