import { v7 as uuid } from 'uuid';
import { CANARY_ID, ownCanaries, receivedHere } from '#eventing/canary';
import { readEnvelope } from '#eventing/cloud-event';
import type { Consumer } from '#eventing/consumer';
import { broadcaster } from '#eventing/external-broadcaster';
import { Inbox } from '#eventing/inbox';
import { confirm } from '../../../support/confirm.ts';
import { type Fixture, lampEvents, lamps, openFixture } from '../fixture.ts';

let fixture: Fixture;
beforeEach(async () => {
  fixture = await openFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const silentLog = { warn: () => undefined, error: () => undefined };
const externalBroadcaster = broadcaster(lamps, 'external-broadcaster');
const HOPS = [
  'row',
  'relay to lamp-internal',
  'topic lamp-internal',
  'recorder of lamp-internal',
  'external-broadcaster',
  'relay to lamp-external',
  'recorder of lamp-external',
];

const canaries = () =>
  ownCanaries({ system: lamps, keyring: fixture.keyring, broadcaster: externalBroadcaster }, lampEvents.canarySent);
const send = () => canaries().send(fixture.orm.em.fork());
const message = async (topic: string) => {
  const rows = await fixture.database.sql<{ envelope: unknown }>(
    `select envelope from eventing.outbox where topic = $1
     union all select envelope from eventing.relayed where topic = $1`,
    [topic],
  );
  return readEnvelope(rows[0]!.envelope);
};
const relayAll = () =>
  fixture.database.sql(`with taken as (delete from eventing.outbox returning *)
    insert into eventing.relayed (id, event_id, channel, topic, partition, ordering_key, target, envelope, attempts, created_at, relayed_at, resend_at)
    select id, event_id, channel, topic, partition, ordering_key, target, envelope, attempts, created_at, now(), 'infinity' from taken`);
const confirmOn = async (topic: string) => confirm(fixture.database, (await message(topic)).messageId);
const deliver = async (consumer: Consumer, event: ReturnType<typeof readEnvelope>) => {
  await using inbox = new Inbox(fixture.orm, { ownSource: '/lamp', log: silentLog });
  await inbox.deliver(consumer, event);
};

/** Returns how many hops a canary has passed, with the next hop and its problem. */
async function progressOf(id: string): Promise<{ passed: number; at?: string; problem?: string | null }> {
  const hops = (await canaries().follow(fixture.orm.em.fork(), id))!;
  expect(hops.map(({ name }) => name)).toEqual(HOPS);
  const next = hops.find(({ at }) => at === null);
  return { passed: next ? hops.indexOf(next) : hops.length, ...(next && { at: next.name, problem: next.problem }) };
}

test('a canary’s passed hops are counted, and the next hop names its problem', async () => {
  const id = await send();
  expect(await progressOf(id)).toMatchObject({
    passed: 1,
    at: 'relay to lamp-internal',
    problem: expect.stringMatching(/no relay is running/),
  });
  await relayAll();
  expect(await progressOf(id)).toMatchObject({
    passed: 2,
    at: 'topic lamp-internal',
    problem: expect.stringMatching(/no consumer has received it/),
  });
  const event = await message('lamp-internal');
  await confirmOn('lamp-internal');
  expect(await progressOf(id)).toMatchObject({
    passed: 4,
    at: 'external-broadcaster',
    problem: expect.stringMatching(/has not received the canary/),
  });
  await deliver(externalBroadcaster, event);
  expect(await progressOf(id)).toMatchObject({ passed: 5, at: 'relay to lamp-external' });
  await relayAll();
  expect(await progressOf(id)).toMatchObject({
    passed: 6,
    at: 'recorder of lamp-external',
    problem: expect.stringMatching(/is not confirmed/),
  });
  await confirmOn('lamp-external');
  expect(await progressOf(id)).toEqual({ passed: 7 });
});

test('a canary received by another consumer but not confirmed points to the recorder', async () => {
  const id = await send();
  await relayAll();
  await deliver(externalBroadcaster, await message('lamp-internal'));
  expect(await progressOf(id)).toMatchObject({
    at: 'recorder of lamp-internal',
    problem: expect.stringMatching(/is not confirmed/),
  });
});

test('the relay’s last error is included', async () => {
  const id = await send();
  await fixture.database.sql(`update eventing.outbox set attempts = 3, last_error = 'too large'`);
  expect(await progressOf(id)).toMatchObject({
    at: 'relay to lamp-internal',
    problem: expect.stringMatching(/^publishing to lamp-internal failed \(attempts: 3\): too large; /),
  });
});

test('a broadcaster that fails on the canary is named with its error', async () => {
  const id = await send();
  const event = await message('lamp-internal');
  await relayAll();
  await deliver({ ...externalBroadcaster, handle: async () => Promise.reject(new Error('no room')) }, event);
  // The canary has reached the broadcaster, so the topic works.
  expect(await progressOf(id)).toMatchObject({ at: 'recorder of lamp-internal' });
  await confirmOn('lamp-internal');
  expect(await progressOf(id)).toMatchObject({
    at: 'external-broadcaster',
    problem: expect.stringMatching(/cannot apply it \(failing\): .*no room/),
  });
});

test('a broadcaster that waits for an earlier canary is reported as such', async () => {
  await send();
  await confirmOn('lamp-internal');
  const id = await send();
  await deliver(externalBroadcaster, await message('lamp-internal'));
  await confirmOn('lamp-internal');
  expect(await progressOf(id)).toMatchObject({
    at: 'external-broadcaster',
    problem: expect.stringMatching(/an earlier canary/),
  });
});

test('canaries sent concurrently are events of one aggregate in sequence', async () => {
  const ids = await Promise.all([send(), send(), send()]);
  const events = await fixture.storedEvents({ id: CANARY_ID });
  expect(events.map(({ sequence, event_type }) => [Number(sequence), event_type])).toEqual(
    [1, 2, 3].map((sequence) => [sequence, 'lamp.canary-sent']),
  );
  expect(events.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
  expect(fixture.wakeUps()).toBe(3);
});

test('a canary updates the row of its aggregate', async () => {
  const sentAt = async () =>
    (await fixture.database.sql<{ at: Date }>('select sent_at as at from eventing.canary'))[0]!.at;
  const before = await sentAt();
  await send();
  expect((await sentAt()).getTime()).toBeGreaterThan(before.getTime());
});

test('an event that is not a canary is not traced', async () => {
  const lamp = await fixture.install();
  const [event] = await fixture.storedEvents(lamp);
  expect(await canaries().follow(fixture.orm.em.fork(), event!.id)).toBeUndefined();
  expect(await canaries().follow(fixture.orm.em.fork(), uuid())).toBeUndefined();
});

test('another system’s canary is received once the local consumer has handled it', async () => {
  const consumer: Consumer = {
    name: 'canary',
    order: 'convergent',
    types: ['lamp.canary-sent'],
    handle: async () => undefined,
  };
  const eventId = await send();
  const here = async () =>
    receivedHere(
      fixture.orm.em.fork(),
      { keyring: fixture.keyring, consumer: 'canary', topic: 'lamp-external', eventId },
      'house',
    );
  await deliver({ ...consumer, name: 'another-consumer' }, await message('lamp-internal'));
  expect(await here()).toMatchObject({
    name: 'house',
    at: null,
    problem: expect.stringMatching(/house has not received the canary from lamp-external/),
  });
  await deliver(consumer, await message('lamp-internal'));
  expect(await here()).toMatchObject({ name: 'house', at: expect.any(String), problem: null });
});
