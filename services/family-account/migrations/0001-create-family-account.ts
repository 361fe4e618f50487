import { Migration } from '@mikro-orm/migrations';

/** Creates the tables of the family-account system. Its database roles `family_account_<role>` must exist. */
export class FamilyAccount0001Create extends Migration {
  override up(): void {
    this.addSql(tables);
    this.addSql(grants);
  }

  override down(): void {
    this.addSql('drop table invitation, membership, family_account');
  }
}

const tables = `
create table family_account (
  id uuid primary key,
  status text not null check (status in ('OPEN', 'CLOSED')),
  name text,
  owner_id uuid,                              -- a member of the member system, as is member_id below
  opened_at timestamptz not null,
  closed_at timestamptz,
  version integer not null default 1,
  -- A closed account keeps nothing that people gave it.
  check (case status
    when 'OPEN' then num_nulls(name, owner_id) = 0 and closed_at is null
    else num_nonnulls(name, owner_id) = 0 and closed_at is not null end)
);

create table membership (
  id uuid primary key,
  family_account_id uuid not null references family_account,
  member_id uuid not null,
  position integer not null,
  joined_at timestamptz not null,
  ended_at timestamptz,
  end_reason text check (end_reason in ('LEFT', 'REMOVED', 'IDENTITY_NOT_VERIFIED', 'MEMBER_WITHDRAWN')),
  check ((ended_at is null) = (end_reason is null))
);
-- A member belongs to one family account at most, also of those that it joins at the same moment.
create unique index membership_member_key on membership (member_id) where ended_at is null;
create unique index membership_position_key on membership (family_account_id, position) where ended_at is null;

create table invitation (
  id uuid primary key,
  family_account_id uuid not null references family_account,
  code_hash text not null constraint invitation_code_hash_key unique,
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  accepted_by uuid,
  accepted_at timestamptz,
  check ((accepted_by is null) = (accepted_at is null))
);
create index invitation_open on invitation (family_account_id, expires_at) where accepted_at is null;
`;

// Least privilege: the app can delete nothing and cannot change who joined or when. The read-only role sees neither names nor the hashes of
// invitation codes.
const grants = `
grant usage on schema public to family_account_app, family_account_readonly;
grant select, insert on family_account, membership, invitation to family_account_app;
grant update (status, name, owner_id, closed_at, version) on family_account to family_account_app;
grant update (ended_at, end_reason) on membership to family_account_app;
grant update (accepted_by, accepted_at) on invitation to family_account_app;
grant select (id, status, owner_id, opened_at, closed_at, version) on family_account to family_account_readonly;
grant select on membership to family_account_readonly;
grant select (id, family_account_id, issued_at, expires_at, accepted_by, accepted_at) on invitation to family_account_readonly;
`;
