import { Client } from 'pg';
import { readConfig } from '#service/config';
import { run } from '#service/run';
import { ensurePartitions, prunePublished } from './prune.ts';
import { housekeepingSettings } from './settings.ts';

// A command that ends when it is done; run it daily.
await run('housekeeping', async ({ log }) => {
  const config = readConfig(housekeepingSettings);
  const client = new Client({ connectionString: config.DATABASE_URL, application_name: 'housekeeping' });
  client.on('notice', ({ message }) => log.warn(message ?? 'a notice without words'));
  await client.connect();
  try {
    // First what cannot be in anybody's way.
    const deleted = await prunePublished(client, config.KEEP_PUBLISHED_DAYS);
    const partitions = await ensurePartitions(client);
    log.info({ partitions, deleted }, 'done');
  } finally {
    await client.end();
  }
});
