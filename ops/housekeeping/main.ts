import { Client } from 'pg';
import { readConfig } from '#process/config';
import { run } from '#process/run';
import { deleteOld, dropOld, ensurePartitions, hasRetention, TABLES } from './prune.ts';
import { settings } from './settings.ts';

// One-off command; run it daily.
await run('housekeeping', async ({ log }) => {
  const config = readConfig(settings);
  const client = new Client({ connectionString: config.DATABASE_URL, application_name: 'housekeeping' });
  client.on('notice', ({ message }) => log.warn(message ?? 'notice without a message'));
  await client.connect();
  try {
    const days = config.KEEP_PUBLISHED_DAYS;
    const partitions = await ensurePartitions(client);
    if (!(await hasRetention(client)))
      return log.warn({ partitions }, 'nothing deleted: the schema is of the last release');
    const dropped = await dropOld(client, days);
    const deleted: Record<string, number> = {};
    for (const table of TABLES) deleted[table] = await deleteOld(client, table, days);
    log.info({ partitions, dropped, deleted }, 'done');
  } finally {
    await client.end();
  }
});
