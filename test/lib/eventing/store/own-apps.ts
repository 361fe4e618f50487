import { v7 as uuid } from 'uuid';
import { externalData, type ReceivedEvent } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { broadcaster } from '#eventing/external-broadcaster';
import { Inbox, type InboxOptions } from '#eventing/inbox';
import { Receiver } from '#eventing/receiver';
import { Recorder } from '#eventing/recorder';
import { bodiesOf } from '../../../../lib/eventing/inbox/deferred-bodies.ts';
import { type Fixture, Lamp, lamps } from '../fixture.ts';

/** Runs the apps of the lamp system in one process: the broadcaster, and a recorder of both topics. */
export function startOwnApps(
  { orm }: Fixture,
  log: InboxOptions['log'],
  consumer: Consumer = broadcaster(lamps, `broadcaster-${uuid()}`),
) {
  const appId = `app-${uuid()}`;
  const inbox = new Inbox(orm, { ownSource: '/lamp', log });
  const own = { source: '/lamp', recorder: new Recorder(orm) };
  const external = { ...own, dataOf: (event: ReceivedEvent) => externalData(lamps, event) };
  const topics = { 'lamp-internal': { ...own, consumers: [consumer] }, 'lamp-external': external };
  const receiver = new Receiver({ orm, appId, topics, inbox, log });
  inbox.start([consumer]);
  inbox.startBodies(appId, (due) => receiver.redeliver(due));
  return {
    appId,
    inbox,
    consumer,
    receive: (envelope: object, topic = 'lamp-internal') => receiver.receive(topic, JSON.stringify(envelope)),
    async [Symbol.asyncDispose]() {
      await receiver[Symbol.asyncDispose]();
      await inbox[Symbol.asyncDispose]();
    },
  };
}

/** Returns the deferred deliveries of a consumer, or the unreadable bodies of an app. */
export const deferredOf = ({ database }: Fixture, name: string) =>
  database.sql<{ event_id: string; last_error: string; raw: string }>(
    `select event_id, state, event_type, last_error, raw from eventing.kept_delivery where consumer in ($1, $2)`,
    [name, bodiesOf(name)],
  );

/** Returns the internal messages of a lamp in the outbox, in sequence. */
export const internalMessagesOf = async ({ database }: Fixture, lamp: Lamp) =>
  (
    await database.sql<{ envelope: Record<string, unknown> }>(
      `select envelope from eventing.outbox where channel = 'internal' and ordering_key = $1 order by position`,
      [lamp.id],
    )
  ).map(({ envelope }) => envelope);

export async function installInspectedLamp(fixture: Fixture): Promise<Lamp> {
  const { id } = await fixture.install();
  const em = fixture.orm.em.fork();
  const lamp = await em.findOneOrFail(Lamp, id);
  lamp.inspect();
  await em.flush();
  return lamp;
}
