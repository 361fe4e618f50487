import { Migration } from '@mikro-orm/migrations';

/** Adds counts of wrong passwords. The table is unlogged: after a crash of PostgreSQL the counts start again from zero. */
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
