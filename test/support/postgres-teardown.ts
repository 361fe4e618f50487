import { rm } from 'node:fs/promises';

/** Stops the PostgreSQL of the integration tests and removes its data. */
export default async function tearDown(): Promise<void> {
  const { postgres, dataDir } = (
    globalThis as unknown as { testPostgres: { postgres: { stop(): Promise<void> }; dataDir: string } }
  ).testPostgres;
  await postgres.stop();
  await rm(dataDir, { recursive: true, force: true });
}
