import { v7 as uuid } from 'uuid';
import { CANARY_ID, heardHere, ownCanaries } from '#eventing/canary';
import { readEnvelope } from '#eventing/cloud-event';
import { type Consumer, Inbox } from '#eventing/inbox';
import { broadcaster } from '#eventing/outbox';
import { Recorder } from '#eventing/recorder';
import { type Lab, lampEvents, lamps, openLab } from './lab.ts';

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(() => lab[Symbol.asyncDispose]());

const quietly = { warn: () => undefined, error: () => undefined };
const says = broadcaster(lamps, 'external-broadcaster');
const HOPS = [
  'row',
  'relay to lamp-internal',
  'topic lamp-internal',
  'recorder of lamp-internal',
  'external-broadcaster',
  'relay to lamp-external',
  'recorder of lamp-external',
];

const canaries = () => ownCanaries({ system: lamps, keyring: lab.keyring, broadcaster: says }, lampEvents.canarySent);
const send = () => canaries().send(lab.orm.em.fork());
const message = async (topic: string) => {
  const rows = await lab.database.sql<{ envelope: unknown }>(
    `select envelope from eventing.outbox where topic = $1
     union all select envelope from eventing.relayed where topic = $1`,
    [topic],
  );
  return readEnvelope(rows[0]!.envelope);
};
const relayed = () =>
  lab.database.sql(`with taken as (delete from eventing.outbox returning *)
    insert into eventing.relayed (id, event_id, channel, topic, partition, ordering_key, target, envelope, attempts, created_at, relayed_at, resend_at)
    select id, event_id, channel, topic, partition, ordering_key, target, envelope, attempts, created_at, now(), 'infinity' from taken`);
const comesBack = async (topic: string) => new Recorder(lab.orm).cameBack((await message(topic)).messageId);
const hears = async (consumer: Consumer, event: ReturnType<typeof readEnvelope>) => {
  await using inbox = new Inbox(lab.orm, { log: quietly });
  await inbox.deliver(consumer, event);
};

/** By how many hops it has come, and what is said to stop it at the next. */
async function way(id: string): Promise<{ passed: number; at?: string; trouble?: string | null }> {
  const hops = (await canaries().follow(lab.orm.em.fork(), id))!;
  expect(hops.map(({ name }) => name)).toEqual(HOPS);
  const next = hops.find(({ at }) => at === null);
  return { passed: next ? hops.indexOf(next) : hops.length, ...(next && { at: next.name, trouble: next.trouble }) };
}

test('a canary is seen at each hop that it has come by, and stops at the next', async () => {
  const id = await send();
  expect(await way(id)).toMatchObject({
    passed: 1,
    at: 'relay to lamp-internal',
    trouble: expect.stringMatching(/no relay runs/),
  });
  await relayed();
  expect(await way(id)).toMatchObject({
    passed: 2,
    at: 'topic lamp-internal',
    trouble: expect.stringMatching(/nobody has heard it/),
  });
  const event = await message('lamp-internal');
  await comesBack('lamp-internal');
  expect(await way(id)).toMatchObject({
    passed: 4,
    at: 'external-broadcaster',
    trouble: expect.stringMatching(/has not heard it/),
  });
  await hears(says, event);
  expect(await way(id)).toMatchObject({ passed: 5, at: 'relay to lamp-external' });
  await relayed();
  expect(await way(id)).toMatchObject({
    passed: 6,
    at: 'recorder of lamp-external',
    trouble: expect.stringMatching(/not come back/),
  });
  await comesBack('lamp-external');
  expect(await way(id)).toEqual({ passed: 7 });
});

test('that others have heard it on the topic shows that it is the recorder who does not', async () => {
  const id = await send();
  await relayed();
  await hears(says, await message('lamp-internal'));
  expect(await way(id)).toMatchObject({
    at: 'recorder of lamp-internal',
    trouble: expect.stringMatching(/not come back/),
  });
});

test('a relay’s own words are passed on', async () => {
  const id = await send();
  await lab.database.sql(`update eventing.outbox set attempts = 3, last_error = 'too large'`);
  expect(await way(id)).toMatchObject({ at: 'relay to lamp-internal', trouble: 'it was tried 3 times: too large' });
});

test('a broadcaster that has it and fails is named, with its error', async () => {
  const id = await send();
  const event = await message('lamp-internal');
  await relayed();
  await hears({ ...says, handle: async () => Promise.reject(new Error('no room')) }, event);
  // It has come as far as the broadcaster, so the topic is well.
  expect(await way(id)).toMatchObject({ at: 'recorder of lamp-internal' });
  await comesBack('lamp-internal');
  expect(await way(id)).toMatchObject({
    at: 'external-broadcaster',
    trouble: expect.stringMatching(/cannot do its work: .*no room/),
  });
});

test('a broadcaster that lacks the canary before waits for it, and says so', async () => {
  await send();
  await comesBack('lamp-internal');
  const id = await send();
  await hears(says, await message('lamp-internal'));
  await comesBack('lamp-internal');
  expect(await way(id)).toMatchObject({
    at: 'external-broadcaster',
    trouble: expect.stringMatching(/an earlier canary/),
  });
});

test('canaries are facts of one aggregate, in order, whoever sends them at the same moment', async () => {
  const ids = await Promise.all([send(), send(), send()]);
  const facts = await lab.factsOf({ id: CANARY_ID });
  expect(facts.map(({ sequence, event_type }) => [Number(sequence), event_type])).toEqual(
    [1, 2, 3].map((sequence) => [sequence, 'lamp.canary-sent']),
  );
  expect(facts.map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
  expect(lab.wakeUps()).toBe(3);
});

test('a canary changes the row that it is about', async () => {
  const sentAt = async () => (await lab.database.sql<{ at: Date }>('select sent_at as at from eventing.canary'))[0]!.at;
  const before = await sentAt();
  await send();
  expect((await sentAt()).getTime()).toBeGreaterThan(before.getTime());
});

test('what is no canary is not followed', async () => {
  const lamp = await lab.install();
  const [fact] = await lab.factsOf(lamp);
  expect(await canaries().follow(lab.orm.em.fork(), fact!.id)).toBeUndefined();
  expect(await canaries().follow(lab.orm.em.fork(), uuid())).toBeUndefined();
});

test('another system’s canary has come once the consumer here has handled it', async () => {
  const consumer: Consumer = {
    name: 'canary',
    order: 'convergent',
    types: ['lamp.canary-sent'],
    handle: async () => undefined,
  };
  const eventId = await send();
  const here = async () =>
    heardHere(
      lab.orm.em.fork(),
      { keyring: lab.keyring, consumer: 'canary', topic: 'lamp-external', eventId },
      'house',
    );
  await hears({ ...consumer, name: 'somebody-else' }, await message('lamp-internal'));
  expect(await here()).toMatchObject({
    name: 'house',
    at: null,
    trouble: expect.stringMatching(/house has not heard it on lamp-external/),
  });
  await hears(consumer, await message('lamp-internal'));
  expect(await here()).toMatchObject({ name: 'house', at: expect.any(String), trouble: null });
});
