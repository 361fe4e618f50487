import { eventingMigrations } from '#eventing/schema';
import { migrate } from '#process/database';
import { migrate as migrateFamilyAccount } from '../../services/family-account/database.ts';
import { migrate as migrateMember } from '../../services/member/database.ts';

/** Template databases that tests clone: those of the systems, and `lamp`, which has only the tables of eventing. */
export const templates: Record<string, { roles: string; migrate(ownerUrl: string): Promise<unknown> }> = {
  lamp: {
    roles: 'lamp',
    migrate: (url) => migrate({ url, migrations: eventingMigrations({ roles: 'lamp' }), print: () => undefined }),
  },
  family_account: { roles: 'family_account', migrate: (url) => migrateFamilyAccount(url, () => undefined) },
  member: { roles: 'member', migrate: (url) => migrateMember(url, () => undefined) },
};
