import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#service/database';

/** The databases that tests clone: `lab` has the tables of eventing only. */
export const templates: Record<string, { roles: string; migrate(ownerUrl: string): Promise<unknown> }> = {
  lab: { roles: 'lab', migrate: (url) => migrate({ url, migrations: eventingMigrations({ roles: 'lab' }) }) },
};
