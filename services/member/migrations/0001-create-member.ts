import { Migration } from '@mikro-orm/migrations';

/** Creates the tables of the member system. Its database roles `member_<role>` must exist. */
export class Member0001Create extends Migration {
  override up(): void {
    this.addSql(tables);
    this.addSql(grants);
  }

  override down(): void {
    this.addSql('drop table login_record, session, member; drop sequence session_number');
  }
}

const tables = `
create table member (
  id uuid primary key,
  status text not null check (status in ('ACTIVE', 'WITHDRAWN')),
  email text constraint member_email_key unique,                     -- lower case
  name text,
  password_hash text,
  identity_hash text constraint member_identity_hash_key unique,     -- one person, one member
  identity_verified_at timestamptz,
  registered_at timestamptz not null,
  withdrawn_at timestamptz,
  version integer not null default 1,
  check ((identity_hash is null) = (identity_verified_at is null)),
  -- Nobody is left half erased.
  check (case status
    when 'ACTIVE' then num_nulls(email, name, password_hash) = 0 and withdrawn_at is null
    else num_nonnulls(email, name, password_hash, identity_hash) = 0 and withdrawn_at is not null end)
);

-- One for all members: across a device, too, the later session has the higher number.
create sequence session_number as bigint;

create table session (
  number bigint primary key,
  member_id uuid not null references member,
  token_hash text constraint session_token_hash_key unique,          -- of a live session only
  device_id text,
  device_name text,
  device_os text,
  logged_in_at timestamptz not null,
  last_seen_at timestamptz not null,
  logged_out_at timestamptz,
  logout_reason text check (logout_reason in ('SELF', 'OTHER_DEVICE', 'OTHER_MEMBER_ON_DEVICE', 'WITHDRAWN', 'PASSWORD_CHANGED')),
  check ((logged_out_at is null) = (token_hash is not null)),
  check ((logged_out_at is null) = (logout_reason is null))
);
create index session_member on session (member_id, number);
create index session_device on session (device_id, number);

create table login_record (
  event_id uuid primary key,
  member_id uuid not null references member,
  session_number bigint not null,
  device_id text not null,
  device_name text not null,
  device_os text not null,
  ip text not null,
  user_agent text not null,
  at timestamptz not null
);
create index login_record_member on login_record (member_id, event_id);
`;

// Least privilege: the app cannot delete a member, only erase its data. The read-only role sees no personal data.
const grants = `
grant usage on schema public to member_app, member_readonly;
grant select, insert, update on member, session to member_app;
grant select, insert, delete on login_record to member_app;
grant usage on sequence session_number to member_app;
grant select (id, status, identity_verified_at, registered_at, withdrawn_at, version) on member to member_readonly;
grant select (number, member_id, logged_in_at, last_seen_at, logged_out_at, logout_reason) on session to member_readonly;
grant select (event_id, member_id, session_number, at) on login_record to member_readonly;
`;
