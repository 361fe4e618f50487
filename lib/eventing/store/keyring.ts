import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ReceivedEvent } from '../cloud-event.ts';
import { hasAppend } from '../schema-before.ts';
import { array, execute } from '../sql.ts';

/** Shown in place of each value once its aggregate's key is destroyed. */
export const ERASED = 'erased';

const ALGORITHM = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Crypto-shredding: attribute values are stored and sent encrypted with a key per aggregate, which is stored wrapped by the
 * master key. Destroying that one row makes every copy unreadable: tables, topics, dead letters and backups of them.
 * Keys are never cached, because a cached key would outlive its destruction. They are KeyObjects: with a Buffer as key a
 * cipher takes ten times as long.
 */
export class Keyring {
  readonly #masters: readonly KeyObject[];

  /**
   * @param masters master keys of 32 bytes. The first one wraps and any of them unwraps, so that they can be rotated.
   *   Together with the database they reveal every value that is not erased.
   * @throws Error when there is none, or one has another length
   */
  constructor(masters: readonly Buffer[]) {
    if (masters.length === 0) throw new Error('No master key is given: at least one is required');
    for (const { length } of masters)
      if (length !== 32) throw new Error(`The master key has ${length} bytes instead of 32`);
    this.#masters = masters.map((it) => createSecretKey(it));
  }

  /**
   * Returns the system's root secret, 32 bytes. Secrets that must survive a rotation of the master key are derived from it.
   * The first call creates it at random. If keys exist already, earlier releases derived those secrets from the master key
   * that unwraps them, so that master key becomes the root secret.
   */
  async root(em: EntityManager): Promise<Buffer> {
    const load = async () => (await this.#load(em, [ROOT_ID])).get(ROOT_ID)?.export();
    const known = await load();
    if (known) return known;
    const [oldest] = await execute<KeyRow>(em, OLDEST);
    const previous = oldest && this.#masters.find((it) => unwrapWith(it, oldest.wrapped_key!, oldest.aggregate_id));
    await execute(em, MAKE_ROOT, [ROOT_ID, this.#wrap(previous ?? newKey(), ROOT_ID)]);
    return (await load())!;
  }

  /**
   * Rewraps with the first master key those keys of one page that another one wraps, in the order of their ids.
   * @param after id of the aggregate to continue after
   * @returns how many were rewrapped, and `next`, the id to continue after; undefined after the last page
   */
  rewrap(em: EntityManager, after = FIRST_ID): Promise<{ rewrapped: number; next: string | undefined }> {
    return em.transactional(async (tx) => {
      const rows = await execute<KeyRow>(tx, REWRAP_PAGE, [after, REWRAP_PAGE_SIZE]);
      const old = rows.filter(
        ({ wrapped_key: key, aggregate_id: id }) => key && !unwrapWith(this.#masters[0]!, key, id),
      );
      const rewrapped = old.map(({ aggregate_id: id, wrapped_key: key }) => ({
        id,
        key: this.#wrap(this.#unwrap(key!, id), id).toString('hex'),
      }));
      await execute(tx, REWRAP, [JSON.stringify(rewrapped)]);
      return {
        rewrapped: rewrapped.length,
        next: rows.length === REWRAP_PAGE_SIZE ? rows.at(-1)!.aggregate_id : undefined,
      };
    });
  }

  /** Creates keys of new aggregates, which the caller stores. @returns them by aggregate id, and wrapped, in hex */
  create(aggregateIds: readonly string[]): { keys: Map<string, KeyObject>; wrapped: Record<string, string> } {
    const keys = new Map(aggregateIds.map((id) => [id, newKey()]));
    const wrapped = [...keys].map(([id, key]) => [id, this.#wrap(key, id).toString('hex')]);
    return { keys, wrapped: Object.fromEntries(wrapped) as Record<string, string> };
  }

  /**
   * Returns the keys of aggregates that are about to record events, and creates missing ones. Another transaction may destroy
   * them until the heads are locked: `eventing.append_1` looks again.
   * @param erased ids of the aggregates whose keys the transaction is going to destroy
   * @throws Error when an aggregate's key is destroyed: its last event is recorded
   */
  async keysFor(
    em: EntityManager,
    aggregateIds: readonly string[],
    { erased = [] }: { erased?: readonly string[] } = {},
  ): Promise<Map<string, KeyObject>> {
    // Lock keys to be destroyed first, and exclusively. Upgrading a shared lock later could deadlock with a concurrent
    // transaction that records another event of the same aggregate.
    if (erased.length > 0) await this.#load(em, erased, 'for no key update');
    // The last release's schema does not look again (docs/decisions/0015).
    const lock = (await hasAppend(em)) ? '' : 'for share';
    const keys = await this.#load(em, aggregateIds, lock);
    const missing = aggregateIds.filter((id) => !keys.has(id));
    for (const [id, key] of await this.#store(em, missing)) keys.set(id, key);
    // Another transaction has created them meanwhile.
    const others = missing.filter((id) => !keys.has(id));
    if (others.length > 0) for (const [id, key] of await this.#load(em, others, lock)) keys.set(id, key);
    const live = new Map<string, KeyObject>();
    for (const [id, key] of keys) {
      if (!key) throw new Error(`${id} has recorded its last event: its key is destroyed`);
      live.set(id, key);
    }
    return live;
  }

  /** Creates and stores keys. @returns those that were stored: others exist already */
  async #store(em: EntityManager, aggregateIds: readonly string[]): Promise<Map<string, KeyObject>> {
    if (aggregateIds.length === 0) return new Map();
    const { keys, wrapped } = this.create(aggregateIds.toSorted());
    const stored = await execute<{ id: string }>(em, STORE, [JSON.stringify(wrapped)]);
    return new Map(stored.map(({ id }) => [id, keys.get(id)!]));
  }

  /** Marks keys that were lost as destroyed, in the caller's transaction, so that their aggregates never get new ones. */
  async markDestroyed(em: EntityManager, aggregateIds: readonly string[]): Promise<void> {
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
   * Decrypts the attribute values of an internal event; each reads `erased` when the key is destroyed.
   * @throws Error when a value was tampered with or belongs to another event
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

  /** Reads and unwraps keys, by aggregate id; null for a destroyed one. */
  async #load(
    em: EntityManager,
    aggregateIds: readonly string[],
    lock: '' | 'for share' | 'for no key update' = '',
  ): Promise<Map<string, KeyObject | null>> {
    const rows = await execute<KeyRow>(
      em,
      `select aggregate_id, wrapped_key from eventing.encryption_key where aggregate_id = any(?::uuid[]) order by aggregate_id ${lock}`,
      [array(aggregateIds)],
    );
    return new Map(
      rows.map((row) => [row.aggregate_id, row.wrapped_key && this.#unwrap(row.wrapped_key, row.aggregate_id)]),
    );
  }

  #wrap(key: KeyObject, id: string): Buffer {
    return seal(this.#masters[0]!, key.export(), id);
  }

  #unwrap(wrapped: Buffer, id: string): KeyObject {
    for (const master of this.#masters) {
      const key = unwrapWith(master, wrapped, id);
      if (key) return key;
    }
    throw new Error(`None of the given master keys unwraps the key of ${id}: add the one that wrapped it`);
  }
}

interface KeyRow {
  readonly aggregate_id: string;
  /** Null for a destroyed one. */
  readonly wrapped_key: Buffer | null;
}

/** Row of the root secret: no aggregate has this id. */
const ROOT_ID = '00000000-0000-4000-8000-00000000100f';
const FIRST_ID = '00000000-0000-0000-0000-000000000000';
const REWRAP_PAGE_SIZE = 500;

const OLDEST = `
select aggregate_id, wrapped_key from eventing.encryption_key where wrapped_key is not null order by aggregate_id limit 1`;
const MAKE_ROOT = `
insert into eventing.encryption_key (aggregate_id, wrapped_key) values (?, ?) on conflict do nothing`;
const STORE = `
insert into eventing.encryption_key (aggregate_id, wrapped_key)
select key::uuid, decode(value, 'hex') from jsonb_each_text(?::jsonb) order by 1 on conflict do nothing returning aggregate_id as id`;
const REWRAP_PAGE = `
select aggregate_id, wrapped_key from eventing.encryption_key where aggregate_id > ?::uuid order by aggregate_id limit ? for no key update`;
const REWRAP = `
update eventing.encryption_key k set wrapped_key = decode(r.key, 'hex') from jsonb_to_recordset(?::jsonb) as r(id uuid, key text)
 where k.aggregate_id = r.id`;

/**
 * Encrypts one value.
 * @param place `<event id>/<name>`; the value decrypts only with the same place, so it cannot be moved to another event
 */
export function encryptValue(key: KeyObject, value: unknown, place: string): string {
  return seal(key, Buffer.from(JSON.stringify(value ?? null)), place).toString('base64url');
}

function decryptValue(key: KeyObject, value: string, place: string): unknown {
  return JSON.parse(open(key, Buffer.from(value, 'base64url'), place).toString());
}

/** Returns IV, tag and ciphertext in one buffer; `context` is authenticated with them. */
function seal(key: KeyObject, plain: Buffer, context: string): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv(ALGORITHM, key, iv).setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), body]);
}

function open(key: KeyObject, sealed: Buffer, context: string): Buffer {
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
}

const newKey = (): KeyObject => createSecretKey(randomBytes(32));

/** Returns undefined if another master key has wrapped it. */
function unwrapWith(master: KeyObject, wrapped: Buffer, id: string): KeyObject | undefined {
  try {
    return createSecretKey(open(master, wrapped, id));
  } catch {
    return undefined;
  }
}
