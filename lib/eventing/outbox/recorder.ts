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

  /**
   * A message can be received back before the relay has recorded it as sent; its row then goes straight from `outbox`
   * to `published`. Separate statements, in this order, because the relay moves rows from `outbox` to `relayed`: each
   * needs its own snapshot.
   */
  async #markPublished(ids: string[]): Promise<ReadonlySet<string>> {
    return this.#orm.em.fork().transactional(async (em) => {
      const found = new Set<string>();
      const missing = () => array(ids.filter((id) => !found.has(id)));
      for (const statement of [moveFrom('outbox'), moveFrom('relayed'), PUBLISHED]) {
        if (found.size === ids.length) break;
        for (const { id } of await execute<{ id: string }>(em, statement, [missing()])) found.add(id);
      }
      return found;
    });
  }
}

// Locks rows in the order of their ids, as the relay does. A row still in `outbox` gets the present moment as `relayed_at`:
// the latest that can be true.
const moveFrom = (table: 'outbox' | 'relayed') => `
with deleted as (
  delete from eventing.${table} where id in (select id from eventing.${table} where id = any(?::uuid[]) order by id for update) returning *
), inserted as (
  insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
  select id, event_id, channel, topic, target, attempts, created_at, ${table === 'outbox' ? 'clock_timestamp()' : 'relayed_at'} from deleted
  on conflict (id) do nothing
)
select id from deleted`;

const PUBLISHED = 'select id from eventing.published where id = any(?::uuid[])';
