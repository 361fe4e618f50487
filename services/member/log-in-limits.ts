import { createHmac, hkdfSync } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { array, execute } from '#eventing/sql';
import { DomainError } from '#service/errors';

/** Wrong passwords in a quarter of an hour. An account alone takes more, so that nobody can lock others out from one address. */
const LIMITS = { account: 100, address: 300, both: 10 } as const;
const WINDOW = "interval '15 minutes'";

/** Whoever tries too many passwords has to wait. The counts are in the database, one for all replicas, by keyed hashes that name nobody. */
export class LogInLimits {
  readonly #key: Buffer;

  /** @param root the system's own secret: the key for this is derived from it */
  constructor(root: Buffer) {
    this.#key = Buffer.from(hkdfSync('sha256', root, '', 'log-in attempts', 32));
  }

  /**
   * Lets a password be looked at. The try counts as a failure until it has succeeded: many at the same moment are all counted. One that
   * comes to no end (too many are under way, the database is gone) was none.
   * @param who what is tried, an e-mail address for one, whether or not a member has it; and from where
   * @param check says whether the password is right
   * @returns what it says
   * @throws DomainError `too-many-attempts`, with the time after which it is worth trying again; and what `check` throws
   */
  async guard(
    em: EntityManager,
    { account, address }: { account: string; address: string },
    check: () => Promise<boolean>,
  ): Promise<boolean> {
    // On a connection of its own: it stays counted whatever becomes of the transaction around it.
    const own = em.fork();
    const whos = {
      account: this.#hash('account', account),
      address: this.#hash('address', address),
      both: this.#hash('both', account, address),
    };
    const keys = array(Object.values(whos).map((who) => `\\x${who.toString('hex')}`));
    const rows = await execute<{ who: Buffer; failures: number; wait: number }>(own, COUNT, [keys, keys]);
    for (const [name, limit] of Object.entries(LIMITS)) {
      const row = rows.find(({ who }) => who.equals(whos[name as keyof typeof LIMITS]));
      if (row && row.failures > limit) throw tooMany(Math.max(1, Math.ceil(row.wait)));
    }
    const right = await check().catch(async (error: unknown) => {
      // Where this fails as well, the try stays counted.
      await execute(own, TAKE_BACK, [keys]).catch(() => undefined);
      throw error;
    });
    if (!right) return false;
    await execute(own, 'delete from log_in_attempt where who = ?', [whos.both]);
    await execute(own, TAKE_BACK, [array([whos.account, whos.address].map((who) => `\\x${who.toString('hex')}`))]);
    return true;
  }

  #hash(...parts: string[]): Buffer {
    return createHmac('sha256', this.#key).update(JSON.stringify(parts)).digest();
  }
}

const TAKE_BACK = 'update log_in_attempt set failures = failures - 1 where who = any(?::bytea[]) and failures > 0';

// In the order of the keys, so that two at once do not wait for each other; old counts are taken out of the way.
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
