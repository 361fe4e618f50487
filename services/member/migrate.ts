import { readConfig } from '#process/config';
import { run } from '#process/run';
import { migrate } from './database.ts';
import { migrationSettings } from './settings.ts';

await run('member-migrate', async () => {
  await migrate(readConfig(migrationSettings).DATABASE_URL);
});
