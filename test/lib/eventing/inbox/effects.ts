import { v7 as uuid } from 'uuid';
import type { ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { Inbox } from '#eventing/inbox';
import { execute } from '#eventing/sql';
import { type Fixture, openFixture } from '../fixture.ts';

/** Opened by `open`, disposed by `close`. */
export let fixture: Fixture;
const log = { warn: () => undefined, error: () => undefined };
/** Opens a fixture with the table `effect`. */
export async function open() {
  fixture = await openFixture();
  await fixture.database.sql(
    'create table effect (n serial, consumer text, event_id uuid, sequence int); grant all on effect to lamp_app; grant all on sequence effect_n_seq to lamp_app',
  );
}
export const close = () => fixture[Symbol.asyncDispose]();

/** Returns a consumer that inserts a row as its effect. @param fails called after the insert; may throw */
export function consumer(order: Consumer['order'], fails: (event: ReceivedEvent) => void = () => undefined): Consumer {
  const name = `${order}-${uuid()}`;
  return {
    name,
    order,
    types: 'all',
    async handle(em, event) {
      await execute(em, 'insert into effect (consumer, event_id, sequence) values (?, ?, ?)', [
        name,
        event.eventId,
        event.sequence,
      ]);
      fails(event);
    },
  };
}

export const effects = async ({ name }: Consumer): Promise<number[]> =>
  (
    await fixture.database.sql<{ sequence: number }>('select sequence from effect where consumer = $1 order by n', [
      name,
    ])
  ).map((row) => row.sequence);
export const deferred = ({ name }: Consumer) =>
  fixture.database.sql<{
    sequence: string;
    state: string;
    attempts: number;
    last_error: string;
    event_id: string;
    next_attempt_at: Date | null;
  }>('select * from eventing.kept_delivery where consumer = $1 order by sequence', [name]);

/** Starts an inbox that retries quickly. */
export function startInbox(...consumers: Consumer[]): Inbox {
  const inbox = new Inbox(fixture.orm, { ownSource: '/other', maxAttempts: 3, backoffMs: 5, log });
  inbox.start(consumers);
  return inbox;
}
