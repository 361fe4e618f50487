import type { MikroORM } from '@mikro-orm/postgresql';
import type { Consumer } from '../consumer.ts';
import type { Head } from '../diagnostics/event-trace.ts';
import { execute } from '../sql.ts';

/**
 * Where a new ordered consumer starts in a stream.
 * - `beginning`: with the first event of every aggregate, for a new system, or a subscriber that receives the whole history.
 * - the publisher's present heads: with the events after them, for a subscriber without history. Otherwise it would wait
 *   indefinitely for events published before it subscribed.
 */
export type StartPosition = 'beginning' | { readonly source: string; readonly heads: AsyncIterable<readonly Head[]> };

/**
 * Records the start position of a new consumer; a consumer that is registered already continues where it was. Call it
 * before the consumer's first delivery. One transaction: a failure leaves nothing behind, and a second process waits.
 */
export async function registerConsumer(
  orm: MikroORM,
  { name }: Pick<Consumer, 'name'>,
  start: StartPosition,
): Promise<void> {
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
