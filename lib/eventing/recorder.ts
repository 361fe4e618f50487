import type { MikroORM } from '@mikro-orm/postgresql';
import { array, execute } from './sql.ts';

/**
 * Marks what came back as published. Without an inbox, since marking twice is marking once, and whatever the target is.
 * Deliveries that arrive while a batch is being written make up the next one.
 */
export class Recorder {
  readonly #orm: MikroORM;
  #next: { ids: Set<string>; done: Promise<void> } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(orm: MikroORM) {
    this.#orm = orm;
  }

  /**
   * Resolves when the message is marked as published in the database, or was before, or is none of this system's.
   * @throws when the database is not there
   */
  async cameBack(messageId: string): Promise<void> {
    if (!this.#next) {
      const ids = new Set<string>();
      const done = this.#running.then(() => {
        this.#next = undefined;
        return this.#mark([...ids]);
      });
      this.#next = { ids, done };
      this.#running = done.catch(() => undefined);
    }
    this.#next.ids.add(messageId);
    await this.#next.done;
  }

  /**
   * A message can be back before the relay has noted that it sent it. Then it is taken out of the outbox right here. The statements are
   * apart and in this order because the relay moves rows from outbox to relayed: whoever waited in the first for the relay's lock finds
   * the row with the second.
   */
  async #mark(ids: string[]): Promise<void> {
    await this.#orm.em.fork().transactional(async (em) => {
      for (const table of ['outbox', 'relayed'] as const) await execute(em, markIn(table), [array(ids)]);
    });
  }
}

// Rows are locked in the order of their ids, as the relay does. What was not noted as relayed has been by now: no later moment can be true.
const markIn = (table: 'outbox' | 'relayed') => `
with back as (
  delete from eventing.${table} where id in (select id from eventing.${table} where id = any(?::uuid[]) order by id for update) returning *
)
insert into eventing.published (id, event_id, channel, topic, target, attempts, created_at, relayed_at)
select id, event_id, channel, topic, target, attempts, created_at, ${table === 'outbox' ? 'clock_timestamp()' : 'relayed_at'} from back
on conflict (id) do nothing`;
