import { v7 as uuid } from 'uuid';
import { Inbox } from '#eventing/inbox';
import { findMissing } from '#eventing/missing-events';
import { eventually } from '../../../support/eventually.ts';
import {
  allCompared,
  app,
  close,
  confirmAll,
  consumerOf,
  fixture,
  lampWith,
  markReceiving,
  open,
  pendingForApp,
  pendingMessages,
  sequences,
  silentLog,
  stopReceiving,
} from './reconciliation.ts';

// Each test has a database of its own, because all tests of one database would share the topic.
beforeEach(open);
afterEach(close);

test('a confirmed event that an app did not receive is republished unchanged to that app only', async () => {
  const { consumer, applied } = consumerOf('convergent');
  await using _ = (await app({ consumer }))();
  await lampWith(1);
  const published = await confirmAll();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1, 2]));
  const again = await pendingForApp();
  const { id: _id, target: _target, ...same } = published[1]!.envelope;
  expect(again[1]!.envelope).toMatchObject(same);
  expect(Object.keys(again[1]!.envelope).sort()).toEqual(Object.keys(published[1]!.envelope).sort());
  expect(again[1]!.event.messageId).not.toBe(published[1]!.event.messageId);
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  for (const { event } of await confirmAll()) await inbox.deliver(consumer, event);
  await allCompared();
  expect(await pendingMessages()).toEqual([]);
  expect(applied).toEqual(['1 lamp.installed', '2 lamp.inspected']);
});

test('an ordered consumer that waits for a lost event receives it and continues', async () => {
  const { consumer, applied } = consumerOf('ordered');
  const start = await app({ consumer });
  await lampWith(2);
  const [, , third] = await confirmAll();
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  inbox.start([consumer]);
  await inbox.deliver(consumer, third!.event);
  expect(applied).toEqual([]);
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1, 2]));
  for (const { event } of await confirmAll()) await inbox.deliver(consumer, event);
  await eventually(() => expect(applied).toEqual(['1 lamp.installed', '2 lamp.inspected', '3 lamp.inspected']));
});

test('applied, deferred, discarded and unhandled events are not requested', async () => {
  const { consumer } = consumerOf('convergent', ['lamp.inspected']);
  const start = await app({ consumer });
  await lampWith(4);
  const [, second, third, fourth] = await confirmAll();
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  await inbox.deliver(consumer, second!.event);
  for (const [{ event }, state] of [[third!, 'dead'] as const, [fourth!, 'discarded'] as const])
    await fixture.database.sql('insert into eventing.kept_delivery (consumer, event_id, state) values ($1, $2, $3)', [
      consumer.name,
      event.eventId,
      state,
    ]);
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([5]));
});

test.each([
  ['convergent', []],
  ['ordered', [1, 2]],
] as const)(
  'events older than the inbox reaches are requested by a %s consumer’s app: %j',
  async (order, requested) => {
    const { consumer } = consumerOf(order);
    const start = await app({ consumer });
    await lampWith(1);
    await confirmAll();
    await fixture.database.sql("update eventing.horizon set first_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff'");
    await using _ = start();
    await allCompared();
    await eventually(async () => expect(sequences(await pendingForApp())).toEqual(requested));
  },
);

test('events confirmed after the last received message are not requested yet', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await lampWith(3);
  const [, second] = await confirmAll();
  await markReceiving(second!.event.messageId);
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
  await markReceiving(null);
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1, 2, 3, 4]));
});

test('a stalled app is sent only the oldest missing event until it receives that one', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await lampWith(3);
  await confirmAll();
  await stopReceiving();
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
  const [probe] = await confirmAll();
  // The probe is lost as well.
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
  await confirmAll();
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  await inbox.deliver(consumer, probe!.event);
  await markReceiving(probe!.event.messageId);
  // The oldest event may have been sent once more in the meantime.
  const others = async () => sequences(await pendingForApp()).filter((sequence) => sequence > 1);
  await eventually(async () => expect(await others()).toEqual([2, 3, 4]));
});

test('an event lost repeatedly is abandoned and listed after three requests, until it arrives', async () => {
  const { consumer } = consumerOf('convergent');
  const errors: object[] = [];
  const log = { ...silentLog, error: (fields: object) => void errors.push(fields) };
  await using _ = (await app({ consumer, log }))();
  const lamp = await lampWith(0);
  const [{ event } = { event: undefined }] = await confirmAll();
  for (let time = 1; time <= 3; time++) {
    await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
    await confirmAll();
  }
  await eventually(() => expect(errors).toMatchObject([{ eventId: event!.eventId }]));
  const listed = () => findMissing(fixture.orm.em.fork(), { limit: 10 });
  const { eventId, type, aggregateId, sequence } = event!;
  expect(await listed()).toMatchObject([{ eventId, type, aggregateId, sequence, since: expect.any(String) }]);
  lamp.inspect();
  await fixture.orm.em.fork().persist(lamp).flush();
  await confirmAll();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([2]));
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  await inbox.deliver(consumer, event!);
  await eventually(async () => expect(await listed()).toEqual([]));
});

test('a new app requests no event published before its registration', async () => {
  const { consumer } = consumerOf('convergent');
  await lampWith(2);
  await confirmAll();
  await using _ = (await app({ consumer }))();
  const lamp = await lampWith(0);
  await confirmAll();
  await eventually(async () =>
    expect((await pendingForApp()).map(({ event }) => event.aggregateId)).toEqual([lamp.id]),
  );
});

test('an unknown last received message does not limit the comparison', async () => {
  const { consumer } = consumerOf('convergent');
  const start = await app({ consumer });
  await lampWith(0);
  await confirmAll();
  await markReceiving(uuid());
  await using _ = start();
  await eventually(async () => expect(sequences(await pendingForApp())).toEqual([1]));
});
