import { Client } from 'pg';
import { readConfig } from '#service/config';
import { run } from '#service/run';
import { ensurePartitions, prunePublished } from './prune.ts';
import { housekeepingSettings } from './settings.ts';

// A command that ends when it is done; run it daily.
await run('housekeeping', async ({ log }) => {
  const config = readConfig(housekeepingSettings);
  const client = new Client({ connectionString: config.DATABASE_URL, application_name: 'housekeeping' });
  await client.connect();
  try {
    const partitions = await ensurePartitions(client);
    const deleted = await prunePublished(client, config.KEEP_PUBLISHED_DAYS);
    log.info({ partitions, deleted }, 'done');
  } finally {
    await client.end();
  }
});
