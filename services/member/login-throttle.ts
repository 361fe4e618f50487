import { createHmac, hkdfSync } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { array, execute } from '#eventing/sql';
import { DomainError } from '#process/errors';

/** Wrong passwords per window. The limit per account alone is higher, so that one address cannot lock an account. */
const LIMITS = { account: 100, address: 300, both: 10 } as const;
const WINDOW = "interval '15 minutes'";

/** Limits wrong passwords. Counts are in the database, for all replicas, under keyed hashes that reveal neither account nor address. */
export class LoginThrottle {
  readonly #key: Buffer;

  /** @param root the system's root secret, from which the key of the hashes is derived */
  constructor(root: Buffer) {
    this.#key = Buffer.from(hkdfSync('sha256', root, '', 'log-in attempts', 32));
  }

  /**
   * Checks a password within the limits. An attempt counts as failed until its check succeeds, so that concurrent attempts all count; one
   * whose check throws (overload, database outage) does not count.
   * @param account what the password is tried for, such as an e-mail address, even if no member has it
   * @param address IP address of the caller
   * @param check resolves to whether the password is right
   * @returns the result of `check`
   * @throws DomainError `too-many-attempts`, with the seconds to wait; what `check` throws
   */
  async guard(
    em: EntityManager,
    { account, address }: { account: string; address: string },
    check: () => Promise<boolean>,
  ): Promise<boolean> {
    // On its own connection: the attempt stays counted if a surrounding transaction rolls back.
    const own = em.fork();
    const hashes = {
      account: this.#hash('account', account),
      address: this.#hash('address', address),
      both: this.#hash('both', account, address),
    };
    const keys = array(Object.values(hashes).map((hash) => `\\x${hash.toString('hex')}`));
    const rows = await execute<{ who: Buffer; failures: number; wait: number }>(own, COUNT, [keys, keys]);
    for (const [name, limit] of Object.entries(LIMITS)) {
      const row = rows.find(({ who }) => who.equals(hashes[name as keyof typeof LIMITS]));
      if (row && row.failures > limit) throw tooMany(Math.max(1, Math.ceil(row.wait)));
    }
    const isRight = await check().catch(async (error: unknown) => {
      // If this fails as well, the attempt stays counted.
      await execute(own, TAKE_BACK, [keys]).catch(() => undefined);
      throw error;
    });
    if (!isRight) return false;
    await execute(own, 'delete from log_in_attempt where who = ?', [hashes.both]);
    const others = array([hashes.account, hashes.address].map((hash) => `\\x${hash.toString('hex')}`));
    await execute(own, TAKE_BACK, [others]);
    return true;
  }

  #hash(...parts: string[]): Buffer {
    return createHmac('sha256', this.#key).update(JSON.stringify(parts)).digest();
  }
}

// Both statements lock counts in the order of the keys, so that concurrent attempts do not deadlock.
const TAKE_BACK = `
with counted as materialized (
  select who from log_in_attempt where who = any(?::bytea[]) and failures > 0 order by who for update
)
update log_in_attempt a set failures = failures - 1 from counted where a.who = counted.who`;

// Also deletes expired counts.
const COUNT = `
with old as (
  delete from log_in_attempt where who in (
    select who from log_in_attempt where since < now() - ${WINDOW} limit 10 for update skip locked) and who <> all (?::bytea[])
)
insert into log_in_attempt as a (who, failures, since)
select who, 1, now() from unnest(?::bytea[]) as who order by who
on conflict (who) do update set
  failures = case when a.since < now() - ${WINDOW} then 1 else a.failures + 1 end,
  since = case when a.since < now() - ${WINDOW} then now() else a.since end
returning who, failures, extract(epoch from since + ${WINDOW} - now())::float8 as wait`;

function tooMany(retryAfterSeconds: number): DomainError {
  return new DomainError('too-many-attempts', 'Too many wrong passwords: wait before you try again', 'too-many', {
    retryAfterSeconds,
  });
}
