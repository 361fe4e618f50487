import { readConfig } from '#process/config';
import { migrate } from './database.ts';
import { migrationSettings } from './settings.ts';

const config = readConfig(migrationSettings);
await migrate(config.DATABASE_URL);
