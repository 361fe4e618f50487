import { readConfig } from '#service/config';
import { run } from '#service/run';
import { migrate } from './database.ts';
import { migrationSettings } from './settings.ts';

await run('member-migrate', async () => {
  await migrate(readConfig(migrationSettings).DATABASE_URL);
});
