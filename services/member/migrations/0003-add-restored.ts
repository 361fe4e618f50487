import { Migration } from '@mikro-orm/migrations';

/** Adds a logout reason. The constraint is not validated: existing rows satisfy the narrower one already. */
export class Member0003AddRestored extends Migration {
  override up(): void {
    this.addSql(rule([...REASONS, 'RESTORED']));
  }

  override down(): void {
    this.addSql(rule(REASONS));
  }
}

const REASONS = ['SELF', 'OTHER_DEVICE', 'OTHER_MEMBER_ON_DEVICE', 'WITHDRAWN', 'PASSWORD_CHANGED'];

const rule = (reasons: readonly string[]) => `
alter table session drop constraint session_logout_reason_check,
  add constraint session_logout_reason_check check (logout_reason in (${reasons.map((it) => `'${it}'`).join(', ')})) not valid`;
