import type { MikroORM } from '@mikro-orm/postgresql';
import { array, execute } from '../sql.ts';

/**
 * Confirms messages that were received back from their topic, whatever their target. It needs no inbox, because
 * confirming twice has the same effect as once. Messages that arrive while a batch is written form the next batch.
 */
export class Recorder {
  readonly #orm: MikroORM;
  #next: { ids: Set<string>; done: Promise<ReadonlySet<string>> } | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(orm: MikroORM) {
    this.#orm = orm;
  }

  /**
   * Resolves when the message is recorded as published, now or earlier.
   * @returns false when the message is unknown: not of this system, or already pruned from `published`
   * @throws when the database cannot be reached
   */
  async confirm(messageId: string): Promise<boolean> {
    if (!this.#next) {
      const ids = new Set<string>();
      const done = this.#running.then(() => {
        this.#next = undefined;
        return this.#markPublished([...ids]);
      });
      this.#next = { ids, done };
      this.#running = done.catch(() => undefined);
    }
    this.#next.ids.add(messageId);
    return (await this.#next.done).has(messageId);
  }

  async #markPublished(ids: string[]): Promise<ReadonlySet<string>> {
    const em = this.#orm.em.fork();
    const found = new Set<string>();
    const find = async (statement: string) => {
      const missing = ids.filter((id) => !found.has(id));
      if (missing.length === 0) return;
      for (const { id } of await execute<{ id: string }>(em, statement, [array(missing)])) found.add(id);
    };
    await find(CONFIRM);
    // The relay has moved these from `outbox` to `relayed` since the statement began. Or they are confirmed already, or unknown.
    await find(CONFIRM);
    await find(CONFIRMED);
    return found;
  }
}

// A message can be received back before the relay has recorded it as sent; its row then goes straight from `outbox` to
// `published`, with the present moment as `relayed_at`: the latest that can be true. Rows are locked in the order of their
// ids, as by the relay. The commit does not wait for the disk: a confirmation that a crash of PostgreSQL loses costs a
// repeat, and with one statement per delivery the disk would be the limit.
const CONFIRM = `
with wanted as materialized (
  select unnest(?::uuid[]) as id, set_config('synchronous_commit', 'off', true)
), unsent as (
  delete from eventing.outbox where id in (select id from eventing.outbox join wanted using (id) order by id for update of outbox)
  returning id, event_id, channel, topic, target, attempts, created_at, clock_timestamp() as relayed_at
), sent as (
  delete from eventing.relayed where id in (select id from eventing.relayed join wanted using (id) order by id for update of relayed)
  returning id, event_id, channel, topic, target, attempts, created_at, relayed_at
), deleted as (
  select * from unsent union all select * from sent
), inserted as (
  insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
  select * from deleted on conflict (id) do nothing
)
select id from deleted`;

const CONFIRMED = 'select id from eventing.published where id = any(?::uuid[])';
