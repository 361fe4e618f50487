import { Migration } from '@mikro-orm/migrations';
import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from '#eventing/sql';

/** Retention of answers; a later request with the same key is a new request. */
const TTL = "interval '24 hours'";

/**
 * SQL condition for rows that count as deleted: older than the retention, or written by release 0.1, whose fingerprint
 * is a plain SHA-256 of the request, password included. Pods of that release write such rows until the last one is
 * replaced.
 * @param row alias of the table in the statement
 */
const isOld = (row: string): string => `(${row}.created_at < now() - ${TTL} or octet_length(${row}.fingerprint) = 32)`;

/**
 * Claims a key for a request in `tx`'s transaction. Waits for a concurrent request with the same key. Also deletes a
 * few expired rows of other keys.
 * @returns false when another request has the key
 */
export async function claim(tx: EntityManager, keyHash: Buffer, fingerprint: Buffer): Promise<boolean> {
  const rows = await execute(
    tx,
    `with expired as (
       delete from service.idempotency where key_hash in (
         select key_hash from service.idempotency where created_at < now() - ${TTL} and key_hash <> ? limit 10 for update skip locked)
     )
     insert into service.idempotency as i (key_hash, fingerprint) values (?, ?)
     on conflict (key_hash) do update set fingerprint = excluded.fingerprint, answer = null, created_at = now()
       where ${isOld('i')}
     returning key_hash`,
    [keyHash, keyHash, fingerprint],
  );
  return rows.length > 0;
}

/** Reads the row of a claimed key. */
export async function read(tx: EntityManager, keyHash: Buffer): Promise<{ fingerprint: Buffer; answer: Buffer }> {
  const [row] = await execute<{ fingerprint: Buffer; answer: Buffer }>(
    tx,
    'select fingerprint, answer from service.idempotency where key_hash = ?',
    [keyHash],
  );
  return row!;
}

/**
 * Stores the answer to the request that claimed the key, in `tx`'s transaction.
 * @param subject id of the person that the answer is about, if any
 */
export async function storeAnswer(
  tx: EntityManager,
  keyHash: Buffer,
  { answer, subject }: { answer: Buffer; subject: string | undefined },
): Promise<void> {
  await execute(tx, 'update service.idempotency set answer = ? where key_hash = ?', [answer, keyHash]);
  if (await hasSubjects(tx))
    await execute(tx, 'update service.idempotency set subject = ? where key_hash = ?', [subject ?? null, keyHash]);
}

/** Deletes all stored answers about a person who has withdrawn, in `em`'s transaction. */
export async function eraseAnswers(em: EntityManager, subject: string): Promise<void> {
  if (await hasSubjects(em)) await execute(em, 'delete from service.idempotency where subject = ?', [subject]);
}

/** Deletes expired rows, whether or not their keys are sent again. */
export async function deleteOld(em: EntityManager): Promise<void> {
  await execute(em, `delete from service.idempotency as i where ${isOld('i')}`);
}

/**
 * Release 0.1 has no column for subjects, and this release must work on its schema (docs/decisions/0015). Remove in the
 * next release.
 */
async function hasSubjects(em: EntityManager): Promise<boolean> {
  const columns = await execute(
    em,
    `select 1 from pg_attribute where attrelid = 'service.idempotency'::regclass and attname = 'subject' and not attisdropped`,
  );
  return columns.length > 0;
}

/**
 * Returns the migrations of the table, in the schema `service`.
 * @param roles prefix of the system's database roles, which must exist
 */
export function idempotencyMigrations({ roles }: { roles: string }) {
  class CreateIdempotency extends Migration {
    override up(): void {
      this.addSql(`
create schema service;
create table service.idempotency (
  key_hash bytea primary key,                -- of who asks and of the key, which is not stored
  fingerprint bytea not null,                -- of the request
  answer bytea,                              -- sealed with the key
  created_at timestamptz not null default now()
);
create index idempotency_age on service.idempotency (created_at);
revoke all on schema service from public;
grant usage on schema service to ${roles}_app;
grant select, insert, update, delete on service.idempotency to ${roles}_app;`);
    }
    override down(): void {
      this.addSql('drop schema service cascade');
    }
  }

  // Truncates instead of deleting: deleted rows stay on disk until a vacuum, and their fingerprints could be cracked.
  class DropUnkeyedFingerprints extends Migration {
    override up(): void {
      this.addSql(`
truncate service.idempotency;
alter table service.idempotency add column subject uuid;  -- the member that the answer is about
create index idempotency_subject on service.idempotency (subject) where subject is not null;
create index idempotency_unkeyed on service.idempotency (key_hash) where octet_length(fingerprint) = 32;`);
    }
    override down(): void {
      this.addSql(`
drop index service.idempotency_unkeyed;
alter table service.idempotency drop column subject;`);
    }
  }
  return [
    { name: 'Service0001Idempotency', class: CreateIdempotency },
    { name: 'Service0002DropUnkeyedFingerprints', class: DropUnkeyedFingerprints },
  ];
}
