import { Client } from 'pg';
import { readConfig } from '#process/config';
import { run } from '#process/run';
import { ensurePartitions, pruneApplied, prunePublished } from './prune.ts';
import { settings } from './settings.ts';

// One-off command; run it daily.
await run('housekeeping', async ({ log }) => {
  const config = readConfig(settings);
  const client = new Client({ connectionString: config.DATABASE_URL, application_name: 'housekeeping' });
  client.on('notice', ({ message }) => log.warn(message ?? 'notice without a message'));
  await client.connect();
  try {
    // Deletions first: they take no locks that block others.
    const deleted = await prunePublished(client, config.KEEP_PUBLISHED_DAYS);
    const applied = await pruneApplied(client, config.KEEP_PUBLISHED_DAYS);
    const partitions = await ensurePartitions(client);
    log.info({ partitions, deleted, applied }, 'done');
  } finally {
    await client.end();
  }
});
