import { readConfig } from '#process/config';
import { run } from '#process/run';
import { createDatabase } from './create-database.ts';
import { settings } from './settings.ts';

// One-off command: run it once for each system, and again when passwords change.
await run('databases', async ({ log }) => {
  const config = readConfig(settings);
  const urls = {
    owner: config.OWNER_URL,
    app: config.APP_URL,
    relay: config.RELAY_URL,
    housekeeping: config.HOUSEKEEPING_URL,
    readonly: config.READONLY_URL,
  };
  await createDatabase(config.ADMIN_URL, urls, (line) => log.warn(line));
  log.info({ database: new URL(config.OWNER_URL).pathname.slice(1) }, 'done');
});
