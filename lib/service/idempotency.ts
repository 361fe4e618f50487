import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { Migration } from '@mikro-orm/migrations';
import type { EntityManager } from '@mikro-orm/postgresql';
import { execute } from '#eventing/sql';
import { DependencyUnavailable, DomainError } from './errors.ts';

/** https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header: quoted as it says, or bare as most clients send it. */
export const IDEMPOTENCY_KEY = /^(?:"([\x21\x23-\x7e]{16,255})"|([\x21\x23-\x7e]{16,255}))$/;

/** How long an answer is kept; a later request with the same key is a new one. */
const KEPT = "interval '24 hours'";
/** Each holds a connection while its handler works, which may ask others: they must not take all there are. */
const MOST_AT_ONCE = 5;

/** An answer as it is sent. */
export interface SentAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string | null;
}

export interface KeyedRequest {
  /** As the client chose it. */
  readonly key: string;
  /** Who asks: the keys of one are nothing to another. */
  readonly requester: string;
  /** What is asked for: method, path and body. */
  readonly request: string;
}

/**
 * Does what is asked for once for each key and answers repeats with the same answer. The answer is stored in the transaction that has the
 * effect, so there is never one without the other; what fails leaves nothing and may be tried again with the same key.
 *
 * Neither keys nor answers can be read in the database: of a key it holds a keyed hash, and an answer is sealed with what only the key and
 * this service's secret yield together.
 */
export class Idempotency {
  readonly #secret: Buffer;
  #underWay = 0;

  /** @param root the system's own secret: the secret for this is derived from it */
  constructor(root: Buffer) {
    this.#secret = Buffer.from(hkdfSync('sha256', root, '', 'idempotency', 32));
  }

  /**
   * @param work is done in the transaction of the entity manager that it gets
   * @throws DomainError `idempotency-key-reused` for another request with the same key, `busy` when too many are under way, and what `work` throws
   */
  async once(
    em: EntityManager,
    { key, requester, request }: KeyedRequest,
    work: (tx: EntityManager) => Promise<SentAnswer>,
  ): Promise<{ answer: SentAnswer; replayed: boolean }> {
    if (this.#underWay >= MOST_AT_ONCE)
      throw new DependencyUnavailable('busy', 'Too many requests are under way: try again', { retryAfterSeconds: 1 });
    const keyHash = createHmac('sha256', this.#secret).update(`${requester}\n${key}`).digest();
    const fingerprint = createHash('sha256').update(request).digest();
    this.#underWay += 1;
    try {
      return await em.transactional(async (tx) => {
        // Waits for whoever has the same key under way.
        if (!(await claim(tx, keyHash, fingerprint)))
          return { answer: await this.#read(tx, keyHash, fingerprint, key), replayed: true };
        const answer = await work(tx);
        const sealed = this.#seal(key, JSON.stringify(answer));
        await execute(tx, 'update service.idempotency set answer = ? where key_hash = ?', [sealed, keyHash]);
        return { answer, replayed: false };
      });
    } finally {
      this.#underWay -= 1;
    }
  }

  /**
   * Forgets what is too old, now and then, whether or not anybody comes with a key.
   * @returns what stops it
   */
  forgetting(em: EntityManager, log: { warn(fields: object, message: string): void }, everyMs = 600_000): Disposable {
    const forget = () =>
      execute(em.fork(), `delete from service.idempotency where created_at < now() - ${KEPT}`).catch((error: unknown) =>
        log.warn({ err: error }, 'cannot forget old answers now'),
      );
    const timer = setInterval(() => void forget(), everyMs).unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  async #read(tx: EntityManager, keyHash: Buffer, fingerprint: Buffer, key: string): Promise<SentAnswer> {
    const [row] = await execute<{ fingerprint: Buffer; answer: Buffer }>(
      tx,
      'select fingerprint, answer from service.idempotency where key_hash = ?',
      [keyHash],
    );
    if (!row!.fingerprint.equals(fingerprint))
      throw new DomainError(
        'idempotency-key-reused',
        'This Idempotency-Key belongs to another request',
        'unprocessable',
      );
    return JSON.parse(this.#open(key, row!.answer)) as SentAnswer;
  }

  #seal(key: string, text: string): Buffer {
    const [salt, iv] = [randomBytes(16), randomBytes(12)];
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey(key, salt), iv);
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([salt, iv, cipher.getAuthTag(), sealed]);
  }

  #open(key: string, sealed: Buffer): string {
    const decipher = createDecipheriv(
      'aes-256-gcm',
      this.#sealingKey(key, sealed.subarray(0, 16)),
      sealed.subarray(16, 28),
    ).setAuthTag(sealed.subarray(28, 44));
    return Buffer.concat([decipher.update(sealed.subarray(44)), decipher.final()]).toString('utf8');
  }

  #sealingKey(key: string, salt: Buffer): Buffer {
    return Buffer.from(hkdfSync('sha256', Buffer.concat([this.#secret, Buffer.from(key)]), salt, 'answer', 32));
  }
}

/** The first one to come with a key has it, for 24 hours; each also takes some that are older out of the way. */
async function claim(tx: EntityManager, keyHash: Buffer, fingerprint: Buffer): Promise<boolean> {
  const rows = await execute(
    tx,
    `with expired as (
       delete from service.idempotency where key_hash in (
         select key_hash from service.idempotency where created_at < now() - ${KEPT} and key_hash <> ? limit 10 for update skip locked)
     )
     insert into service.idempotency as i (key_hash, fingerprint) values (?, ?)
     on conflict (key_hash) do update set fingerprint = excluded.fingerprint, answer = null, created_at = now()
       where i.created_at < now() - ${KEPT}
     returning key_hash`,
    [keyHash, keyHash, fingerprint],
  );
  return rows.length > 0;
}

/**
 * The table for it, schema `service`.
 * @param roles prefix of the system's database roles, which exist already
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
  return [{ name: 'Service0001Idempotency', class: CreateIdempotency }];
}
