import { join } from 'node:path';
import type { Client } from 'pg';
import { DAPR_TOKEN, launch, until } from './harness.ts';

/** Starts the member system's relay, and waits until it has its leases. It is stopped by `stack`. @returns its process id */
export async function startRelay(
  stack: AsyncDisposableStack,
  { database, relayUrl, daprPort }: { database: Client; relayUrl: string; daprPort: number },
): Promise<number> {
  const { pid } = launch(stack, process.execPath, [join(import.meta.dirname, '../services/relay/main.ts')], {
    DATABASE_URL: relayUrl,
    APP_ID: 'member',
    DAPR_HTTP_PORT: `${daprPort}`,
    DAPR_API_TOKEN: DAPR_TOKEN,
    PORT: '0',
    LOG_LEVEL: 'warn',
  });
  await until(async () => {
    const { rows } = await database.query(
      `select from pg_locks where locktype = 'advisory' and classid = 7002 and granted`,
    );
    if (rows.length < 32) throw new Error('The relay has not taken its leases');
  });
  return pid!;
}
