import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#service/database';
import { migrate as migrateFamilyAccount } from '../../services/family-account/database.ts';
import { migrate as migrateMember } from '../../services/member/database.ts';

/** The databases that tests clone: those of the systems, and `lab`, which has the tables of eventing only. */
export const templates: Record<string, { roles: string; migrate(ownerUrl: string): Promise<unknown> }> = {
  lab: {
    roles: 'lab',
    migrate: (url) => migrate({ url, migrations: eventingMigrations({ roles: 'lab' }), print: () => undefined }),
  },
  family_account: { roles: 'family_account', migrate: (url) => migrateFamilyAccount(url, () => undefined) },
  member: { roles: 'member', migrate: (url) => migrateMember(url, () => undefined) },
};
