import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from './inbox.ts';
import type { Head } from './journal.ts';
import { execute } from './sql.ts';

/**
 * Where a new ordered consumer starts in a stream.
 * - `beginning`: with the first event of every aggregate, for a system that is new, or whose history is brought to it.
 * - the publisher's heads, as they are now: with what comes after them, for a subscriber that wants no history. Without them it would wait
 *   for ever for events that were published before it came.
 */
export type Start = 'beginning' | { readonly source: string; readonly heads: AsyncIterable<readonly Head[]> };

/**
 * Notes where a consumer starts, once: a consumer that has joined before goes on where it was, whatever `start` says. To be called before its
 * first delivery. It is one transaction, so a start that fails half-way leaves nothing; a second process waits for the first.
 */
export async function join(orm: MikroORM, { name }: Pick<Consumer, 'name'>, start: Start): Promise<void> {
  await orm.em.fork().transactional(async (em) => {
    const isNew = await execute(
      em,
      'insert into eventing.consumer (name, starts) values (?, ?) on conflict do nothing returning name',
      [name, start === 'beginning' ? start : 'heads'],
    );
    if (isNew.length === 0 || start === 'beginning') return;
    for await (const heads of start.heads) {
      await execute(
        em,
        `insert into eventing.cursor (consumer, stream, aggregate_id, last_sequence)
         select ?, ?, "aggregateId", sequence from jsonb_to_recordset(?::jsonb) as h("aggregateId" text, sequence bigint)
         on conflict do nothing`,
        [name, start.source, JSON.stringify(heads)],
      );
    }
  });
}
