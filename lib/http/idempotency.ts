import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DependencyUnavailable, DomainError } from '#process/errors';
import { claim, deleteOld, read, storeAnswer } from './idempotency-table.ts';

/**
 * https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header: quoted as specified, or bare as most
 * clients send it.
 */
export const IDEMPOTENCY_KEY = /^(?:"([\x21\x23-\x7e]{16,255})"|([\x21\x23-\x7e]{16,255}))$/;

/**
 * Each such request holds a database connection while its handler may call other services: they must not exhaust the
 * pool.
 */
const MAX_CONCURRENT = 5;

/** A serialised answer. */
export interface SentAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string | null;
}

export interface KeyedRequest {
  /** Chosen by the client. */
  readonly key: string;
  /** The caller. Keys of different requesters are independent. */
  readonly requester: string;
  /** Method, path and body. */
  readonly request: string;
  /**
   * Limits comparisons of a repeat with the first request, which could be used to guess it.
   * @returns the result of `isSame`
   */
  readonly guard?: ((isSame: () => Promise<boolean>) => Promise<boolean>) | undefined;
}

/**
 * Runs each request with an Idempotency-Key once and returns the stored answer to repeats. The answer is stored in the
 * transaction of the effect, so neither exists without the other. A failed request stores nothing and may be retried
 * with the same key.
 *
 * Keys, requests and answers cannot be read or guessed from the database: it holds a keyed hash of the key, and the
 * request's hash and the encrypted answer need a key derived from both the client's key and this service's secret.
 */
export class Idempotency {
  readonly #secret: Buffer;
  #running = 0;

  /** @param root the system's root secret, from which the secret for idempotency is derived */
  constructor(root: Buffer) {
    this.#secret = Buffer.from(hkdfSync('sha256', root, '', 'idempotency', 32));
  }

  /**
   * Runs `work` once per key, or returns the stored answer.
   * @param work runs in the transaction of the entity manager that it gets; `subject` is the id of the person that its
   * answer is about
   * @throws DomainError `idempotency-key-reused` for another request with the same key, `busy` above the limit of
   * concurrent requests, and whatever `work` throws
   */
  async once(
    em: EntityManager,
    { key, requester, request, guard = (isSame) => isSame() }: KeyedRequest,
    work: (tx: EntityManager) => Promise<SentAnswer & { readonly subject?: string | undefined }>,
  ): Promise<{ answer: SentAnswer; replayed: boolean }> {
    if (this.#running >= MAX_CONCURRENT)
      throw new DependencyUnavailable('busy', 'Too many concurrent requests: try again', { retryAfterSeconds: 1 });
    const keyHash = createHmac('sha256', this.#secret).update(`${requester}\n${key}`).digest();
    const fingerprint = this.#fingerprint(key, request);
    this.#running += 1;
    try {
      return await em.transactional(async (tx) => {
        // Waits for a concurrent request with the same key.
        if (!(await claim(tx, keyHash, fingerprint))) {
          const first = await read(tx, keyHash);
          if (!(await guard(async () => first.fingerprint.equals(fingerprint)))) throw reused();
          return { answer: JSON.parse(this.#open(key, first.answer)) as SentAnswer, replayed: true };
        }
        const { subject, ...answer } = await work(tx);
        await storeAnswer(tx, keyHash, { answer: this.#seal(key, JSON.stringify(answer)), subject });
        return { answer, replayed: false };
      });
    } finally {
      this.#running -= 1;
    }
  }

  /**
   * Starts deleting expired answers periodically, so that they are deleted even if no further request arrives.
   * @returns stops the cleanup when disposed
   */
  startCleanup(em: EntityManager, log: { warn(fields: object, message: string): void }, everyMs = 600_000): Disposable {
    const cleanUp = () =>
      deleteOld(em.fork()).catch((error: unknown) =>
        log.warn({ err: error }, 'could not delete expired answers, retrying later'),
      );
    const timer = setInterval(() => void cleanUp(), everyMs).unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /**
   * Keyed, because a request may contain a guessable password. SHA-512, whose length differs from release 0.1's
   * fingerprints.
   */
  #fingerprint(key: string, request: string): Buffer {
    return createHmac('sha512', this.#derive(key, '', 'fingerprint'))
      .update(request)
      .digest();
  }

  #seal(key: string, text: string): Buffer {
    const [salt, iv] = [randomBytes(16), randomBytes(12)];
    const cipher = createCipheriv('aes-256-gcm', this.#derive(key, salt, 'answer'), iv);
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return Buffer.concat([salt, iv, cipher.getAuthTag(), sealed]);
  }

  #open(key: string, sealed: Buffer): string {
    const decipher = createDecipheriv(
      'aes-256-gcm',
      this.#derive(key, sealed.subarray(0, 16), 'answer'),
      sealed.subarray(16, 28),
    ).setAuthTag(sealed.subarray(28, 44));
    return Buffer.concat([decipher.update(sealed.subarray(44)), decipher.final()]).toString('utf8');
  }

  /** Derives 32 bytes from the client's key and the service's secret; neither alone is sufficient. */
  #derive(key: string, salt: Buffer | '', purpose: string): Buffer {
    return Buffer.from(hkdfSync('sha256', Buffer.concat([this.#secret, Buffer.from(key)]), salt, purpose, 32));
  }
}

function reused(): DomainError {
  return new DomainError(
    'idempotency-key-reused',
    'This Idempotency-Key was already used for another request',
    'unprocessable',
  );
}
