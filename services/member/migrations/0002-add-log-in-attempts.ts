import { Migration } from '@mikro-orm/migrations';

/** Counts of wrong passwords. Not logged by PostgreSQL: after a crash everybody may try again. */
export class Member0002AddLogInAttempts extends Migration {
  override up(): void {
    this.addSql(`
create unlogged table log_in_attempt (
  who bytea primary key,                     -- keyed hash of an account, an address, or both
  failures integer not null,
  since timestamptz not null
);
create index log_in_attempt_age on log_in_attempt (since);
grant select, insert, update, delete on log_in_attempt to member_app;`);
  }

  override down(): void {
    this.addSql('drop table log_in_attempt');
  }
}
