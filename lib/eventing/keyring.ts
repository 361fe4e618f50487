import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from './cloud-event.ts';
import { array, execute } from './sql.ts';

/** What a value reads once its aggregate's key is destroyed. */
export const ERASED = 'erased';

const ALGORITHM = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Crypto-shredding: attribute values rest and travel encrypted with a key per aggregate, which rests wrapped by the master key.
 * Destroying that one row makes every copy unreadable: tables, topics, dead letters and backups of them.
 * Keys are never cached, since a cached key would outlive its destruction.
 */
export class Keyring {
  readonly #masters: readonly Buffer[];

  /**
   * @param masters 32 bytes each: the first wraps, any of them opens, so that one can follow another. Whoever holds them and the database
   * can read every value that is not erased.
   */
  constructor(masters: readonly Buffer[]) {
    if (masters.length === 0) throw new Error('There is no master key');
    for (const { length } of masters)
      if (length !== 32) throw new Error(`The master key has ${length} bytes instead of 32`);
    this.#masters = masters;
  }

  /**
   * The system's own secret, 32 bytes, from which others are derived that have to stay when the master key changes. It is made when it is
   * asked for first, at random; where there are keys already, what was derived before was derived from the master key that opens them, which
   * it is then.
   */
  async root(em: EntityManager): Promise<Buffer> {
    const load = async () => (await this.#load(em, [ROOT_ID])).get(ROOT_ID);
    const known = await load();
    if (known) return known;
    const [oldest] = await execute<KeyRow>(em, OLDEST);
    const before = oldest && this.#masters.find((it) => isOpenedBy(it, oldest.wrapped_key!, oldest.aggregate_id));
    await execute(em, MAKE_ROOT, [ROOT_ID, this.#wrap(before ?? randomBytes(32), ROOT_ID)]);
    return (await load())!;
  }

  /**
   * Wraps a page of the keys with the first master key, where another one has, in the order of their ids.
   * @returns how many, and after which to go on; nothing to go on after when these were the last
   */
  rewrap(em: EntityManager, after = FIRST_ID): Promise<{ rewrapped: number; next: string | undefined }> {
    return em.transactional(async (tx) => {
      const rows = await execute<KeyRow>(tx, REWRAP_PAGE, [after, REWRAP_AT_ONCE]);
      const old = rows.filter(
        ({ wrapped_key: key, aggregate_id: id }) => key && !isOpenedBy(this.#masters[0]!, key, id),
      );
      const rewrapped = old.map(({ aggregate_id: id, wrapped_key: key }) => ({
        id,
        key: this.#wrap(this.#unwrap(key!, id), id).toString('hex'),
      }));
      await execute(tx, REWRAP, [JSON.stringify(rewrapped)]);
      return {
        rewrapped: rewrapped.length,
        next: rows.length === REWRAP_AT_ONCE ? rows.at(-1)!.aggregate_id : undefined,
      };
    });
  }

  /**
   * The keys of aggregates about to state facts; a new aggregate gets a new key. They stay what they are until `em`'s transaction ends.
   * @param erased those whose keys the transaction is going to destroy
   * @throws when an aggregate's key is destroyed: its last fact has been stated
   */
  async keysFor(
    em: EntityManager,
    aggregateIds: readonly string[],
    { erased = [] }: { erased?: readonly string[] } = {},
  ): Promise<Map<string, Buffer>> {
    // Whoever destroys a key locks it before anything else: of two that state a last fact and another one, neither waits for the other twice.
    if (erased.length > 0) await this.#load(em, erased, 'for no key update');
    const keys = await this.#load(em, aggregateIds, 'for share');
    const missing = aggregateIds.filter((id) => !keys.has(id));
    if (missing.length > 0) {
      const rows = missing.map((id) => ({ id, key: this.#wrap(randomBytes(32), id).toString('hex') }));
      await execute(
        em,
        `insert into eventing.encryption_key (aggregate_id, wrapped_key)
         select id, decode(key, 'hex') from jsonb_to_recordset(?::jsonb) as r(id uuid, key text) on conflict do nothing`,
        [JSON.stringify(rows)],
      );
      for (const [id, key] of await this.#load(em, missing, 'for share')) keys.set(id, key);
    }
    const live = new Map<string, Buffer>();
    for (const [id, key] of keys) {
      if (!key) throw new Error(`${id} has stated its last fact: its key is destroyed`);
      live.set(id, key);
    }
    return live;
  }

  /** Sees to it that aggregates whose keys are lost anyway never get new ones, in the caller's transaction. */
  async keepDestroyed(em: EntityManager, aggregateIds: readonly string[]): Promise<void> {
    await execute(
      em,
      `insert into eventing.encryption_key (aggregate_id, destroyed_at) select id, clock_timestamp() from unnest(?::uuid[]) as id
       on conflict do nothing`,
      [array(aggregateIds)],
    );
  }

  /** Destroys the keys, in the caller's transaction. */
  async destroy(em: EntityManager, aggregateIds: readonly string[]): Promise<void> {
    await execute(
      em,
      `update eventing.encryption_key set wrapped_key = null, destroyed_at = clock_timestamp()
        where aggregate_id = any(?::uuid[]) and wrapped_key is not null`,
      [array(aggregateIds)],
    );
  }

  /**
   * The attribute values of an internal event, in the clear; `erased` for each when the key is destroyed.
   * @throws when a value was tampered with or belongs to another event
   */
  async reveal(
    em: EntityManager,
    event: Pick<ReceivedEvent, 'aggregateId' | 'eventId'>,
    encrypted: Record<string, string>,
  ) {
    const key = (await this.#load(em, [event.aggregateId])).get(event.aggregateId);
    const values = Object.entries(encrypted).map(([name, value]) => [
      name,
      key ? decryptValue(key, value, `${event.eventId}/${name}`) : ERASED,
    ]);
    return Object.fromEntries(values) as Record<string, unknown>;
  }

  /** Wrapped keys, opened; null for a destroyed one. */
  async #load(
    em: EntityManager,
    aggregateIds: readonly string[],
    lock: '' | 'for share' | 'for no key update' = '',
  ): Promise<Map<string, Buffer | null>> {
    const rows = await execute<KeyRow>(
      em,
      `select aggregate_id, wrapped_key from eventing.encryption_key where aggregate_id = any(?::uuid[]) order by aggregate_id ${lock}`,
      [array(aggregateIds)],
    );
    return new Map(
      rows.map((row) => [row.aggregate_id, row.wrapped_key && this.#unwrap(row.wrapped_key, row.aggregate_id)]),
    );
  }

  #wrap(key: Buffer, id: string): Buffer {
    return seal(this.#masters[0]!, key, id);
  }

  #unwrap(wrapped: Buffer, id: string): Buffer {
    const master = this.#masters.find((it) => isOpenedBy(it, wrapped, id));
    if (!master) throw new Error(`The key of ${id} is wrapped with none of the master keys that were given`);
    return open(master, wrapped, id);
  }
}

interface KeyRow {
  readonly aggregate_id: string;
  /** Null for a destroyed one. */
  readonly wrapped_key: Buffer | null;
}

/** Nobody's: of the secret that is the system's own. */
const ROOT_ID = '00000000-0000-4000-8000-00000000100f';
const FIRST_ID = '00000000-0000-0000-0000-000000000000';
const REWRAP_AT_ONCE = 500;

const OLDEST = `
select aggregate_id, wrapped_key from eventing.encryption_key where wrapped_key is not null order by aggregate_id limit 1`;
const MAKE_ROOT = `
insert into eventing.encryption_key (aggregate_id, wrapped_key) values (?, ?) on conflict do nothing`;
const REWRAP_PAGE = `
select aggregate_id, wrapped_key from eventing.encryption_key where aggregate_id > ?::uuid order by aggregate_id limit ? for no key update`;
const REWRAP = `
update eventing.encryption_key k set wrapped_key = decode(r.key, 'hex') from jsonb_to_recordset(?::jsonb) as r(id uuid, key text)
 where k.aggregate_id = r.id`;

/**
 * Encrypts one value for one place.
 * @param place where it belongs (`<event id>/<name>`): a value moved elsewhere does not decrypt
 */
export function encryptValue(key: Buffer, value: unknown, place: string): string {
  return seal(key, Buffer.from(JSON.stringify(value ?? null)), place).toString('base64url');
}

function decryptValue(key: Buffer, value: string, place: string): unknown {
  return JSON.parse(open(key, Buffer.from(value, 'base64url'), place).toString());
}

/** iv, tag and ciphertext in one; `context` is authenticated with them. */
function seal(key: Buffer, plain: Buffer, context: string): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, iv).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), body]);
}

function open(key: Buffer, sealed: Buffer, context: string): Buffer {
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
}

function isOpenedBy(key: Buffer, sealed: Buffer, context: string): boolean {
  try {
    open(key, sealed, context);
    return true;
  } catch {
    return false;
  }
}
